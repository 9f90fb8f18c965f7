/** Paths inside the `remotion/` folder, resolved from the compiled code in build/app/src. */
import {fileURLToPath} from 'node:url';

const resolvePath = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export const SITE_ENTRY = resolvePath('../../../film/index.tsx');
export const PUBLIC_DIR = resolvePath('../../../public');
export const SITE_DIR = resolvePath('../../site');
export const RENDER_PROCESS_SCRIPT = resolvePath('./render-process.js');
