/** The renders in their order: at most so many at a time, every end kept before it is told. */
import {existsSync, readdirSync, rmSync, statfsSync} from 'node:fs';
import {join} from 'node:path';
import type {Callbacks} from './callbacks.ts';
import {clearJob, Hopeless, renderFilm, type Tools} from './job.ts';
import type {Request} from './schema.ts';
import {digestOf, over, type Render, type State, type Store, type Trouble} from './store.ts';

const MAX_ATTEMPTS = 3;
const FREE_BYTES = 2 * 1024 ** 3;
const DAY = 24 * 60 * 60 * 1000;

export type Taken = {answer: 'new' | 'known'; render: Render} | {answer: 'other' | 'full'};

export class Queue {
	readonly #store: Store;
	readonly #tools: Tools;
	readonly #callbacks: Callbacks;
	readonly #running = new Map<string, {abort: AbortController; ended: Promise<void>}>();
	#closing = false;

	constructor(store: Store, tools: Tools, callbacks: Callbacks) {
		this.#store = store;
		this.#tools = tools;
		this.#callbacks = callbacks;
	}

	/** Take up what an earlier process left: unfinished renders begin again, three times at most. */
	start(): void {
		this.#store.tidy();
		for (const name of readdirSync(this.#store.jobs)) {
			clearJob(join(this.#store.jobs, name));
		}
		for (const render of this.#store.all().filter((each) => !over(each))) {
			this.#again(render, {code: 'interrupted', message: 'The render was interrupted three times.'});
		}
		this.sweep();
		this.#next();
	}

	/** Take the order, or say why not. On disk before this returns. */
	take(request: Request): Taken {
		const digest = digestOf(request);
		const known = this.#store.get(request.render_id);
		if (known && known.digest && known.digest !== digest) {
			return {answer: 'other'};
		}
		if (known && known.state !== 'lost') {
			return {answer: 'known', render: known};
		}
		if (this.waiting() >= this.#tools.settings.queue || !this.roomy()) {
			return {answer: 'full'};
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
		setImmediate(() => this.#next());
		return {answer: 'new', render};
	}

	/** End the render if it has not ended; what it is then. */
	async cancel(id: string): Promise<Render | undefined> {
		const render = this.#store.get(id);
		if (!render || over(render)) {
			return render;
		}
		const cancelled = this.#end(id, 'cancelled', {code: 'cancelled', message: 'The render was cancelled.'});
		const running = this.#running.get(id);
		running?.abort.abort();
		await running?.ended;
		return cancelled;
	}

	/** Forget what is over and old. */
	sweep(): void {
		const oldest = Date.now() - this.#tools.settings.keepDays * DAY;
		for (const render of this.#store.all()) {
			if (over(render) && render.updated < oldest) {
				this.#store.forget(render.render_id);
			}
		}
	}

	waiting(): number {
		return this.#store.all().filter((each) => each.state === 'queued').length;
	}

	running(): number {
		return this.#running.size;
	}

	/** Whether there is disk enough for one more. */
	roomy(): boolean {
		const {bavail, bsize} = statfsSync(this.#store.jobs);
		return bavail * bsize > FREE_BYTES;
	}

	/** Stop what runs; it begins again with the next process, and that is not counted against it. */
	async close(): Promise<void> {
		this.#closing = true;
		const running = [...this.#running.values()];
		running.forEach(({abort}) => abort.abort());
		await Promise.all(running.map(({ended}) => ended));
	}

	#next(): void {
		const due = this.#store
			.all()
			.filter((each) => each.state === 'queued' && !this.#running.has(each.render_id))
			.sort((a, b) => a.created - b.created);
		for (const render of due.slice(0, Math.max(0, this.#tools.settings.concurrency - this.#running.size))) {
			if (this.#closing) {
				return;
			}
			const abort = new AbortController();
			const ended = this.#run(render, abort.signal).finally(() => {
				this.#running.delete(render.render_id);
				this.#next();
			});
			this.#running.set(render.render_id, {abort, ended});
		}
	}

	async #run(queued: Render, signal: AbortSignal): Promise<void> {
		const id = queued.render_id;
		const film = this.#store.film(id);
		const render = this.#store.save({...queued, state: 'rendering', attempts: queued.attempts + 1});
		try {
			const note = (state: State, progress: number): void => this.#store.note(id, state, progress);
			const output = await renderFilm(this.#tools, render.request, film, note, signal);
			this.#end(id, 'done', null, output);
		} catch (error) {
			if (error instanceof Hopeless) {
				this.#end(id, 'failed', {code: error.code, message: error.message});
			} else if (signal.aborted) {
				this.#interrupted(render);
			} else {
				// What Remotion says may hold paths and whole pages: it goes to our own log only.
				console.error(`render ${id}, attempt ${render.attempts}: ${String(error).slice(0, 2000)}`);
				this.#again(render, {code: 'render_crashed', message: 'The render broke off three times.'});
			}
		}
	}

	#interrupted(render: Render): void {
		const now = this.#store.get(render.render_id);
		if (now && !over(now)) {
			this.#store.save({...render, state: 'queued', progress: 0, attempts: render.attempts - 1});
		}
	}

	#again(render: Render, otherwise: Trouble): void {
		const now = this.#store.get(render.render_id);
		if (!now || over(now)) {
			return;
		}
		if (render.attempts >= MAX_ATTEMPTS) {
			this.#end(render.render_id, 'failed', otherwise);
		} else {
			this.#store.save({...render, state: 'queued', progress: 0});
		}
	}

	/** The one way a render ends; what has ended stays as it is. */
	#end(id: string, state: State, error: Trouble | null, output: Render['output'] = null): Render | undefined {
		const render = this.#store.get(id);
		if (!render || over(render)) {
			if (existsSync(this.#store.film(id)) && render?.state !== 'done') {
				rmSync(this.#store.film(id), {force: true});
			}
			return render;
		}
		const progress = state === 'done' ? 1 : render.progress;
		const ended = this.#store.save({...render, state, error, output, progress, callback: this.#callbacks.due(render)});
		this.#callbacks.wake();
		return ended;
	}
}
