/** Bundles the site that every render loads. Runs once, when the service is built. */
import {bundle} from '@remotion/bundler';
import {PUBLIC_DIR, SITE_DIR, SITE_ENTRY} from './paths.ts';

await bundle({entryPoint: SITE_ENTRY, outDir: SITE_DIR, publicDir: PUBLIC_DIR, rspack: true, enableCaching: false, rootDir: PUBLIC_DIR + '/..'});
process.stdout.write(`Site bundled into ${SITE_DIR}\n`);
