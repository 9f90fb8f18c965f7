/** One render, from its request to its film, in a job folder that is deleted afterwards. */
import {createHash} from 'node:crypto';
import {copyFileSync, createReadStream, linkSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import type {Readable} from 'node:stream';
import {countFrames} from '../film/timeline.ts';
import {fetchClip} from './clips.ts';
import {killJobProcesses, startIsolated} from './isolation.ts';
import {RENDER_PROCESS_SCRIPT, SITE_DIR} from './paths.ts';
import type {RenderTask} from './render-process.ts';
import {type RenderRequest, resolveOptions} from './schema.ts';
import type {Settings} from './settings.ts';
import type {Failure, Render, RenderState} from './store.ts';

const STALL_TIMEOUT_SECONDS = 90;

/** A message of the render subprocess: its progress, or its result. */
export type ProcessMessage = {state: RenderState; progress: number} | {done: {seconds: number}} | {failed: Failure};

/** A failure that a retry would repeat. */
export class PermanentError extends Error {
	constructor(
		readonly code: string,
		message: string,
	) {
		super(message);
	}
}

export type JobContext = {settings: Settings; isolationCommand: string[]; jobsDir: string};
type ProgressCallback = (state: RenderState, progress: number) => void;

/**
 * Render the film to `filmPath` and return its digest, size and length. `onProgress` receives the state and 0..1.
 *
 * Throws PermanentError if no retry can succeed, and any other error if one may.
 */
export const renderFilm = async (
	{settings, isolationCommand, jobsDir}: JobContext,
	request: RenderRequest,
	filmPath: string,
	onProgress: ProgressCallback,
	signal: AbortSignal,
): Promise<NonNullable<Render['output']>> => {
	const folder = join(jobsDir, request.render_id);
	deleteJob(folder);
	try {
		await prepareJob(settings, request, folder, signal);
		const {seconds} = await runRenderProcess(isolationCommand, request, folder, onProgress, signal);
		const rendered = join(folder, 'film.mp4');
		const output = {sha256: await hashFile(rendered), bytes: statSync(rendered).size, seconds};
		renameSync(rendered, filmPath);
		return output;
	} finally {
		deleteJob(folder);
	}
};

/** Kill the processes that still run in a job's folder, and delete the folder. */
export const deleteJob = (folder: string): void => {
	killJobProcesses(folder);
	rmSync(folder, {recursive: true, force: true, maxRetries: 5, retryDelay: 100});
};

const prepareJob = async (settings: Settings, request: RenderRequest, folder: string, signal: AbortSignal): Promise<void> => {
	mkdirSync(join(folder, 'tmp'), {recursive: true, mode: 0o700});
	linkTree(SITE_DIR, join(folder, 'site'));
	const clipsDir = join(folder, 'site', 'public', 'clips');
	mkdirSync(clipsDir);
	for (const [index, {digest}] of request.manifest.clips.entries()) {
		await fetchClip(settings, digest, join(clipsDir, `${index + 1}.mp4`), signal);
	}
	const task: RenderTask = {
		composition: request.composition,
		props: {manifest: request.manifest, options: resolveOptions(request.props)},
		chromium: settings.chromium,
		frameCount: countFrames(request.manifest),
	};
	writeFileSync(join(folder, 'job.json'), JSON.stringify(task));
};

/** Copy a folder with hard links where possible: the site is read-only. */
const linkTree = (from: string, to: string): void => {
	mkdirSync(to);
	for (const entry of readdirSync(from, {withFileTypes: true})) {
		const [source, target] = [join(from, entry.name), join(to, entry.name)];
		if (entry.isDirectory()) {
			linkTree(source, target);
			continue;
		}
		try {
			linkSync(source, target);
		} catch {
			copyFileSync(source, target);
		}
	}
};

const runRenderProcess = async (
	isolationCommand: string[],
	request: RenderRequest,
	folder: string,
	onProgress: ProgressCallback,
	signal: AbortSignal,
): Promise<{seconds: number}> => {
	signal.throwIfAborted();
	const filmSeconds = countFrames(request.manifest) / request.manifest.fps;
	const child = startIsolated(isolationCommand, [process.execPath, RENDER_PROCESS_SCRIPT, folder], folder);
	const killAll = (): void => killJobProcesses(folder, child.pid);
	let stallTimer = setTimeout(killAll, STALL_TIMEOUT_SECONDS * 1000);
	const deadlineTimer = setTimeout(killAll, (180 + 40 * filmSeconds) * 1000);
	signal.addEventListener('abort', killAll);
	let result: ProcessMessage | undefined;
	let stderrTail = '';
	child.stderr!.on('data', (chunk: Buffer) => {
		stderrTail = (stderrTail + chunk.toString()).slice(-2000);
	});
	const messages = createInterface(child.stdio[3] as Readable).on('line', (line) => {
		const message = JSON.parse(line) as ProcessMessage;
		if (!('state' in message)) {
			result = message;
			return;
		}
		clearTimeout(stallTimer);
		stallTimer = setTimeout(killAll, STALL_TIMEOUT_SECONDS * 1000);
		onProgress(message.state, message.progress);
	});
	try {
		await new Promise<void>((resolve, reject) => {
			child.on('error', reject);
			// `close` follows the last output, so every message has been read by then.
			child.on('close', () => resolve());
			child.on('exit', () => {
				killAll();
				child.stdin!.destroy();
			});
		});
	} finally {
		clearTimeout(stallTimer);
		clearTimeout(deadlineTimer);
		signal.removeEventListener('abort', killAll);
		messages.close();
		killAll();
	}
	signal.throwIfAborted();
	if (result && 'done' in result) {
		return result.done;
	}
	if (result && 'failed' in result) {
		throw new PermanentError(result.failed.code, result.failed.message);
	}
	throw new Error(`The render process exited without a result: ${stderrTail || 'no error output'}`);
};

const hashFile = async (path: string): Promise<string> => {
	const hash = createHash('sha256');
	for await (const chunk of createReadStream(path)) {
		hash.update(chunk as Buffer);
	}
	return hash.digest('hex');
};
