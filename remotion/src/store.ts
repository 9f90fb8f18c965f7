/** Render records on disk: one JSON file per render, replaced atomically. */
import {createHash} from 'node:crypto';
import {closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeSync} from 'node:fs';
import {join} from 'node:path';
import type {RenderRequest} from './schema.ts';

export type RenderState = 'queued' | 'rendering' | 'encoding' | 'checking' | 'done' | 'failed' | 'cancelled' | 'lost';
export type Failure = {code: string; message: string};

/** The webhook that reports the end of a render. `next` is the time of the next attempt, `last` the result of the latest one. */
export type CallbackDelivery = {id: string; tries: number; next: number; state: 'due' | 'delivered' | 'given_up'; last: string};

/** The record of a render. Times are milliseconds since the epoch. */
export type Render = {
	render_id: string;
	request: RenderRequest;
	digest: string;
	state: RenderState;
	progress: number;
	attempts: number;
	error: Failure | null;
	output: {sha256: string; bytes: number; seconds: number} | null;
	created: number;
	updated: number;
	callback: CallbackDelivery | null;
};

const TERMINAL_STATES: readonly RenderState[] = ['done', 'failed', 'cancelled', 'lost'];

/** Return whether the render has ended. */
export const isTerminal = ({state}: Render): boolean => TERMINAL_STATES.includes(state);

export class RenderStore {
	readonly #renders = new Map<string, Render>();
	readonly #recordsDir: string;
	readonly #filmsDir: string;
	readonly jobsDir: string;

	constructor(folder: string) {
		this.#recordsDir = join(folder, 'renders');
		this.#filmsDir = join(folder, 'films');
		this.jobsDir = join(folder, 'jobs');
		for (const each of [this.#recordsDir, this.#filmsDir, this.jobsDir]) {
			mkdirSync(each, {recursive: true, mode: 0o700});
		}
		for (const name of readdirSync(this.#recordsDir)) {
			if (name.endsWith('.json')) {
				this.#load(name);
			} else {
				rmSync(join(this.#recordsDir, name), {force: true});
			}
		}
	}

	/** Return the render, or undefined. A render without its film is saved as `lost`. */
	get(id: string): Render | undefined {
		const render = this.#renders.get(id);
		if (render?.state === 'done' && !existsSync(this.filmPath(id))) {
			return this.save({...render, state: 'lost', output: null});
		}
		return render;
	}

	list(): Render[] {
		return [...this.#renders.values()];
	}

	/** Delete the films that belong to no finished render. */
	deleteOrphanedFilms(): void {
		for (const name of readdirSync(this.#filmsDir)) {
			if (this.#renders.get(name.slice(0, -'.mp4'.length))?.state !== 'done') {
				rmSync(join(this.#filmsDir, name), {force: true});
			}
		}
	}

	/** Return the path of a render's finished film. */
	filmPath(id: string): string {
		return join(this.#filmsDir, `${id}.mp4`);
	}

	/** Save the render to disk before memory, so that every response survives the process. */
	save(render: Render): Render {
		const saved = {...render, updated: Date.now()};
		const path = join(this.#recordsDir, `${render.render_id}.json`);
		const file = openSync(`${path}.new`, 'w', 0o600);
		try {
			writeSync(file, JSON.stringify(saved));
			fsyncSync(file);
		} finally {
			closeSync(file);
		}
		renameSync(`${path}.new`, path);
		this.#renders.set(render.render_id, saved);
		return saved;
	}

	/** Record the progress in memory only: after a restart the render starts again. */
	recordProgress(id: string, state: RenderState, progress: number): void {
		const render = this.#renders.get(id);
		if (render && !isTerminal(render)) {
			this.#renders.set(id, {...render, state, progress: Math.max(progress, render.progress), updated: Date.now()});
		}
	}

	delete(id: string): void {
		this.#renders.delete(id);
		rmSync(join(this.#recordsDir, `${id}.json`), {force: true});
		rmSync(this.filmPath(id), {force: true});
	}

	#load(name: string): void {
		const id = name.slice(0, -'.json'.length);
		try {
			const render = JSON.parse(readFileSync(join(this.#recordsDir, name), 'utf8')) as Render;
			if (render.render_id !== id || !render.request || !render.state) {
				throw new Error('Invalid record');
			}
			this.#renders.set(id, render);
		} catch {
			this.#renders.set(id, createLostRender(id));
		}
	}
}

/** Return the digest of the request. The order of its keys does not change it. */
export const requestDigest = (request: RenderRequest): string => createHash('sha256').update(JSON.stringify(sortKeys(request))).digest('hex');

const sortKeys = (value: unknown): unknown => {
	if (Array.isArray(value)) {
		return value.map(sortKeys);
	}
	if (value && typeof value === 'object') {
		return Object.fromEntries(
			Object.entries(value)
				.sort(([a], [b]) => (a < b ? -1 : 1))
				.map(([key, inner]) => [key, sortKeys(inner)]),
		);
	}
	return value;
};

const createLostRender = (id: string): Render => ({
	render_id: id,
	request: {} as RenderRequest,
	digest: '',
	state: 'lost',
	progress: 0,
	attempts: 0,
	error: {code: 'lost', message: 'The record of this render is unreadable.'},
	output: null,
	created: 0,
	updated: Date.now(),
	callback: null,
});
