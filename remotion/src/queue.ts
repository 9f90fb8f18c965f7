/** The render queue: limited concurrency, retries, and every result saved before it is reported. */
import {existsSync, readdirSync, rmSync, statfsSync} from 'node:fs';
import {join} from 'node:path';
import type {CallbackSender} from './callbacks.ts';
import {deleteJob, type JobContext, PermanentError, renderFilm} from './render-job.ts';
import type {RenderRequest} from './schema.ts';
import {type Failure, isTerminal, type Render, type RenderState, type RenderStore, requestDigest} from './store.ts';

const MAX_ATTEMPTS = 3;
const MIN_FREE_DISK_BYTES = 2 * 1024 ** 3;
const DAY_MILLISECONDS = 24 * 60 * 60 * 1000;

export type EnqueueResult = {outcome: 'created' | 'existing'; render: Render} | {outcome: 'conflict' | 'full'};

export class RenderQueue {
	readonly #store: RenderStore;
	readonly #context: JobContext;
	readonly #callbacks: CallbackSender;
	readonly #running = new Map<string, {abort: AbortController; finished: Promise<void>}>();
	#closing = false;

	constructor(store: RenderStore, context: JobContext, callbacks: CallbackSender) {
		this.#store = store;
		this.#context = context;
		this.#callbacks = callbacks;
	}

	/** Recover from an earlier process: restart unfinished renders, up to three attempts each. */
	start(): void {
		this.#store.deleteOrphanedFilms();
		for (const name of readdirSync(this.#store.jobsDir)) {
			deleteJob(join(this.#store.jobsDir, name));
		}
		for (const render of this.#store.list().filter((each) => !isTerminal(each))) {
			this.#retryOrFail(render, {code: 'interrupted', message: 'The render was interrupted three times.'});
		}
		this.deleteExpired();
		this.#startQueued();
	}

	/** Accept the request, or return why not. A created render is on disk before this returns. */
	enqueue(request: RenderRequest): EnqueueResult {
		const digest = requestDigest(request);
		const existing = this.#store.get(request.render_id);
		if (existing && existing.digest && existing.digest !== digest) {
			return {outcome: 'conflict'};
		}
		if (existing && existing.state !== 'lost') {
			return {outcome: 'existing', render: existing};
		}
		if (this.queuedCount() >= this.#context.settings.maxQueued || !this.hasDiskSpace()) {
			return {outcome: 'full'};
		}
		const now = Date.now();
		const render = this.#store.save({
			render_id: request.render_id,
			request,
			digest,
			state: 'queued',
			progress: 0,
			attempts: 0,
			error: null,
			output: null,
			created: now,
			updated: now,
			callback: null,
		});
		setImmediate(() => this.#startQueued());
		return {outcome: 'created', render};
	}

	/** Cancel the render unless it has ended, wait for its processes to end, and return it. */
	async cancel(id: string): Promise<Render | undefined> {
		const render = this.#store.get(id);
		if (!render || isTerminal(render)) {
			return render;
		}
		const cancelled = this.#finish(id, 'cancelled', {code: 'cancelled', message: 'The render was cancelled.'});
		const running = this.#running.get(id);
		running?.abort.abort();
		await running?.finished;
		return cancelled;
	}

	/** Delete the renders that ended before the retention period. */
	deleteExpired(): void {
		const oldest = Date.now() - this.#context.settings.retentionDays * DAY_MILLISECONDS;
		for (const render of this.#store.list()) {
			if (isTerminal(render) && render.updated < oldest) {
				this.#store.delete(render.render_id);
			}
		}
	}

	queuedCount(): number {
		return this.#store.list().filter((each) => each.state === 'queued').length;
	}

	runningCount(): number {
		return this.#running.size;
	}

	/** Return whether the disk has space for another render. */
	hasDiskSpace(): boolean {
		const {bavail, bsize} = statfsSync(this.#store.jobsDir);
		return bavail * bsize > MIN_FREE_DISK_BYTES;
	}

	/** Stop the running renders. The next process restarts them; this does not count as an attempt. */
	async close(): Promise<void> {
		this.#closing = true;
		const running = [...this.#running.values()];
		running.forEach(({abort}) => abort.abort());
		await Promise.all(running.map(({finished}) => finished));
	}

	#startQueued(): void {
		const queued = this.#store
			.list()
			.filter((each) => each.state === 'queued' && !this.#running.has(each.render_id))
			.sort((a, b) => a.created - b.created);
		for (const render of queued.slice(0, Math.max(0, this.#context.settings.concurrency - this.#running.size))) {
			if (this.#closing) {
				return;
			}
			const abort = new AbortController();
			const finished = this.#run(render, abort.signal).finally(() => {
				this.#running.delete(render.render_id);
				this.#startQueued();
			});
			this.#running.set(render.render_id, {abort, finished});
		}
	}

	async #run(queued: Render, signal: AbortSignal): Promise<void> {
		const id = queued.render_id;
		const render = this.#store.save({...queued, state: 'rendering', attempts: queued.attempts + 1});
		try {
			const onProgress = (state: RenderState, progress: number): void => this.#store.recordProgress(id, state, progress);
			const output = await renderFilm(this.#context, render.request, this.#store.filmPath(id), onProgress, signal);
			this.#finish(id, 'done', null, output);
		} catch (error) {
			if (error instanceof PermanentError) {
				this.#finish(id, 'failed', {code: error.code, message: error.message});
			} else if (signal.aborted) {
				this.#requeueInterrupted(render);
			} else {
				// Remotion's messages can contain paths and whole pages, so they go to this service's log only.
				console.error(`Render ${id}, attempt ${render.attempts} failed: ${String(error).slice(0, 2000)}`);
				this.#retryOrFail(render, {code: 'render_crashed', message: 'The render process crashed three times.'});
			}
		}
	}

	#requeueInterrupted(render: Render): void {
		const current = this.#store.get(render.render_id);
		if (current && !isTerminal(current)) {
			this.#store.save({...render, state: 'queued', progress: 0, attempts: render.attempts - 1});
		}
	}

	#retryOrFail(render: Render, failure: Failure): void {
		const current = this.#store.get(render.render_id);
		if (!current || isTerminal(current)) {
			return;
		}
		if (render.attempts >= MAX_ATTEMPTS) {
			this.#finish(render.render_id, 'failed', failure);
		} else {
			this.#store.save({...render, state: 'queued', progress: 0});
		}
	}

	/** Save the end of a render; all ends pass through here. A render that has ended does not change. */
	#finish(id: string, state: RenderState, error: Failure | null, output: Render['output'] = null): Render | undefined {
		const render = this.#store.get(id);
		if (!render || isTerminal(render)) {
			if (existsSync(this.#store.filmPath(id)) && render?.state !== 'done') {
				rmSync(this.#store.filmPath(id), {force: true});
			}
			return render;
		}
		const progress = state === 'done' ? 1 : render.progress;
		const finished = this.#store.save({...render, state, error, output, progress, callback: this.#callbacks.createDelivery(render)});
		this.#callbacks.sendDue();
		return finished;
	}
}
