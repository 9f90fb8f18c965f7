/** Clips, by their digest, from the one place that is configured. */
import {createHash} from 'node:crypto';
import {createReadStream, createWriteStream, existsSync, lstatSync} from 'node:fs';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import type {ReadableStream} from 'node:stream/web';
import {Hopeless} from './job.ts';
import type {Settings} from './settings.ts';

const MAX_CLIP_BYTES = 64 * 1024 * 1024;
const SECONDS = 120;
/** Where a folder of kept files holds one: as MyloWare's store does, or plainly by its name. */
const KEPT = [(digest: string) => `sha256/${digest.slice(0, 2)}/${digest}`, (digest: string) => digest];

/** Lay the clip at `path`, checked byte for byte. Throws Hopeless where it can never be had. */
export const fetchClip = async (settings: Settings, digest: string, path: string, signal: AbortSignal): Promise<void> => {
	const hash = createHash('sha256');
	let bytes = 0;
	const source = await opened(settings, digest, AbortSignal.any([signal, AbortSignal.timeout(SECONDS * 1000)]));
	await pipeline(
		source,
		async function* (chunks: AsyncIterable<Buffer>) {
			for await (const chunk of chunks) {
				bytes += chunk.length;
				if (bytes > MAX_CLIP_BYTES) {
					throw new Hopeless('clip_too_large', `The clip ${digest.slice(0, 12)}… is larger than ${MAX_CLIP_BYTES} bytes.`);
				}
				hash.update(chunk);
				yield chunk;
			}
		},
		createWriteStream(path),
		{signal},
	);
	if (hash.digest('hex') !== digest) {
		throw new Hopeless('clip_changed', `The clip ${digest.slice(0, 12)}… is not the one that was kept under this digest.`);
	}
};

const opened = async ({artifacts, artifactsKey}: Settings, digest: string, signal: AbortSignal): Promise<Readable> => {
	const missing = new Hopeless('clip_missing', `The clip ${digest.slice(0, 12)}… is not among the kept files.`);
	if (typeof artifacts === 'string') {
		const path = KEPT.map((kept) => join(artifacts, kept(digest))).find((each) => existsSync(each));
		if (!path || !lstatSync(path).isFile()) {
			throw missing;
		}
		return createReadStream(path);
	}
	// An answer that sends us elsewhere is none.
	const response = await fetch(new URL(digest, artifacts), {
		redirect: 'error',
		signal,
		headers: artifactsKey ? {'x-api-key': artifactsKey} : {},
	});
	if (response.status === 404) {
		throw missing;
	}
	if (response.status === 401 || response.status === 403) {
		throw new Hopeless('clips_refused', 'The kept files may not be read: check ARTIFACTS_KEY.');
	}
	if (response.status !== 200 || !response.body) {
		throw new Error(`The kept files answered with HTTP ${response.status}`);
	}
	return Readable.fromWeb(response.body as ReadableStream);
};
