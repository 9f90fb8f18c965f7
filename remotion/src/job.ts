/** One render from its request to its film, in a folder of its own that is gone afterwards. */
import {createHash} from 'node:crypto';
import {copyFileSync, createReadStream, linkSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import type {Readable} from 'node:stream';
import {framesOf} from '../film/timeline.ts';
import {endAll, startApart} from './apart.ts';
import type {Task} from './child.ts';
import {fetchClip} from './clips.ts';
import {CHILD, SITE} from './places.ts';
import {lookOf, type Request} from './schema.ts';
import type {Settings} from './settings.ts';
import type {Render, State, Trouble} from './store.ts';

const STALLED_SECONDS = 90;

/** What the child tells. */
export type Said = {state: State; progress: number} | {done: {seconds: number}} | {failed: Trouble};

/** It would end the same way if it were tried again. */
export class Hopeless extends Error {
	constructor(
		readonly code: string,
		message: string,
	) {
		super(message);
	}
}

export type Tools = {settings: Settings; wall: string[]; jobs: string};

/**
 * Render the film to `film`. `note` hears how far it is.
 *
 * Throws Hopeless where it cannot be made, and anything else where another attempt may succeed.
 */
export const renderFilm = async (
	{settings, wall, jobs}: Tools,
	request: Request,
	film: string,
	note: (state: State, progress: number) => void,
	signal: AbortSignal,
): Promise<NonNullable<Render['output']>> => {
	const folder = join(jobs, request.render_id);
	clearJob(folder);
	try {
		await prepare(settings, request, folder, signal);
		const {seconds} = await drawn(wall, request, folder, note, signal);
		const made = join(folder, 'film.mp4');
		const output = {sha256: await sha256(made), bytes: statSync(made).size, seconds};
		renameSync(made, film);
		return output;
	} finally {
		clearJob(folder);
	}
};

/** End whatever still runs in a job's folder, and remove it. */
export const clearJob = (folder: string): void => {
	endAll(folder);
	rmSync(folder, {recursive: true, force: true, maxRetries: 5, retryDelay: 100});
};

const prepare = async (settings: Settings, request: Request, folder: string, signal: AbortSignal): Promise<void> => {
	mkdirSync(join(folder, 'tmp'), {recursive: true, mode: 0o700});
	copyTree(SITE, join(folder, 'site'));
	const clips = join(folder, 'site', 'public', 'clips');
	mkdirSync(clips);
	for (const [number, {digest}] of request.manifest.clips.entries()) {
		await fetchClip(settings, digest, join(clips, `${number + 1}.mp4`), signal);
	}
	const task: Task = {
		composition: request.composition,
		props: {manifest: request.manifest, look: lookOf(request.props)},
		chromium: settings.chromium,
		frames: framesOf(request.manifest),
	};
	writeFileSync(join(folder, 'job.json'), JSON.stringify(task));
};

/** Nobody writes to the site, so its files are the same files, under another name. */
const copyTree = (from: string, to: string): void => {
	mkdirSync(to);
	for (const entry of readdirSync(from, {withFileTypes: true})) {
		const [source, target] = [join(from, entry.name), join(to, entry.name)];
		if (entry.isDirectory()) {
			copyTree(source, target);
			continue;
		}
		try {
			linkSync(source, target);
		} catch {
			copyFileSync(source, target);
		}
	}
};

const drawn = async (
	wall: string[],
	request: Request,
	folder: string,
	note: (state: State, progress: number) => void,
	signal: AbortSignal,
): Promise<{seconds: number}> => {
	signal.throwIfAborted();
	const seconds = framesOf(request.manifest) / request.manifest.fps;
	const child = startApart(wall, [process.execPath, CHILD, folder], folder);
	const end = (): void => endAll(folder, child.pid);
	let stalled = setTimeout(end, STALLED_SECONDS * 1000);
	const limit = setTimeout(end, (180 + 40 * seconds) * 1000);
	signal.addEventListener('abort', end);
	let ended: Said | undefined;
	let complaint = '';
	child.stderr!.on('data', (chunk: Buffer) => {
		complaint = (complaint + chunk.toString()).slice(-2000);
	});
	const heard = createInterface(child.stdio[3] as Readable).on('line', (line) => {
		const said = JSON.parse(line) as Said;
		if (!('state' in said)) {
			ended = said;
			return;
		}
		clearTimeout(stalled);
		stalled = setTimeout(end, STALLED_SECONDS * 1000);
		note(said.state, said.progress);
	});
	try {
		await new Promise<void>((resolve, reject) => {
			child.on('error', reject);
			// All that was told has then been heard.
			child.on('close', () => resolve());
			child.on('exit', () => {
				end();
				child.stdin!.destroy();
			});
		});
	} finally {
		clearTimeout(stalled);
		clearTimeout(limit);
		signal.removeEventListener('abort', end);
		heard.close();
		end();
	}
	signal.throwIfAborted();
	if (ended && 'done' in ended) {
		return ended.done;
	}
	if (ended && 'failed' in ended) {
		throw new Hopeless(ended.failed.code, ended.failed.message);
	}
	throw new Error(`The render broke off: ${complaint || 'without a word'}`);
};

const sha256 = async (path: string): Promise<string> => {
	const hash = createHash('sha256');
	for await (const chunk of createReadStream(path)) {
		hash.update(chunk as Buffer);
	}
	return hash.digest('hex');
};
