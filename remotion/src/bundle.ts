/** Makes the site that every render is drawn from; once, when the service is built. */
import {bundle} from '@remotion/bundler';
import {PUBLIC, SITE, SITE_ENTRY} from './places.ts';

await bundle({entryPoint: SITE_ENTRY, outDir: SITE, publicDir: PUBLIC, rspack: true, enableCaching: false, rootDir: PUBLIC + '/..'});
process.stdout.write(`The site is in ${SITE}\n`);
