/** Download of clips by digest, from the configured artifact source. */
import {createHash} from 'node:crypto';
import {createReadStream, createWriteStream, existsSync, lstatSync} from 'node:fs';
import {join} from 'node:path';
import {Readable} from 'node:stream';
import {pipeline} from 'node:stream/promises';
import type {ReadableStream} from 'node:stream/web';
import {PermanentError} from './render-job.ts';
import type {Settings} from './settings.ts';

const MAX_CLIP_BYTES = 64 * 1024 * 1024;
const DOWNLOAD_TIMEOUT_SECONDS = 120;
/** Layouts of an artifact folder: that of MyloWare's store, or files named by digest. */
const FOLDER_LAYOUTS = [(digest: string) => `sha256/${digest.slice(0, 2)}/${digest}`, (digest: string) => digest];

/** Write the clip to `path` and verify its digest. Throws PermanentError if no retry can succeed. */
export const fetchClip = async (settings: Settings, digest: string, path: string, signal: AbortSignal): Promise<void> => {
	const hash = createHash('sha256');
	let bytes = 0;
	const source = await openClip(settings, digest, AbortSignal.any([signal, AbortSignal.timeout(DOWNLOAD_TIMEOUT_SECONDS * 1000)]));
	await pipeline(
		source,
		async function* (chunks: AsyncIterable<Buffer>) {
			for await (const chunk of chunks) {
				bytes += chunk.length;
				if (bytes > MAX_CLIP_BYTES) {
					throw new PermanentError('clip_too_large', `Clip ${digest.slice(0, 12)}… exceeds ${MAX_CLIP_BYTES} bytes.`);
				}
				hash.update(chunk);
				yield chunk;
			}
		},
		createWriteStream(path),
		{signal},
	);
	if (hash.digest('hex') !== digest) {
		throw new PermanentError('clip_changed', `The content of clip ${digest.slice(0, 12)}… does not match its digest.`);
	}
};

const openClip = async ({artifacts, artifactsKey}: Settings, digest: string, signal: AbortSignal): Promise<Readable> => {
	const notFound = new PermanentError('clip_missing', `Clip ${digest.slice(0, 12)}… not found among the artifacts.`);
	if (typeof artifacts === 'string') {
		const path = FOLDER_LAYOUTS.map((layout) => join(artifacts, layout(digest))).find((each) => existsSync(each));
		if (!path || !lstatSync(path).isFile()) {
			throw notFound;
		}
		return createReadStream(path);
	}
	// A redirect is an error: clips come from the configured address alone.
	const response = await fetch(new URL(digest, artifacts), {
		redirect: 'error',
		signal,
		headers: artifactsKey ? {'x-api-key': artifactsKey} : {},
	});
	if (response.status === 404) {
		throw notFound;
	}
	if (response.status === 401 || response.status === 403) {
		throw new PermanentError('clips_refused', 'Access to the artifacts was denied: check ARTIFACTS_KEY.');
	}
	if (response.status !== 200 || !response.body) {
		throw new Error(`The artifact request failed with HTTP ${response.status}`);
	}
	return Readable.fromWeb(response.body as ReadableStream);
};
