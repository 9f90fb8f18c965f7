/** Where the parts of this folder lie, seen from the built code in build/app/src. */
import {fileURLToPath} from 'node:url';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export const SITE_ENTRY = at('../../../film/index.tsx');
export const PUBLIC = at('../../../public');
export const SITE = at('../../site');
export const CHILD = at('./child.js');
