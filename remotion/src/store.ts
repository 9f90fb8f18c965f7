/** The renders on disk: one JSON file each, replaced as a whole. */
import {createHash} from 'node:crypto';
import {closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeSync} from 'node:fs';
import {join} from 'node:path';
import type {Request} from './schema.ts';

export type State = 'queued' | 'rendering' | 'encoding' | 'checking' | 'done' | 'failed' | 'cancelled' | 'lost';
export type Trouble = {code: string; message: string};

/** What is still to be told about the end of a render, and how that went. */
export type Told = {id: string; tries: number; next: number; state: 'due' | 'delivered' | 'given_up'; last: string};

export type Render = {
	render_id: string;
	request: Request;
	digest: string;
	state: State;
	progress: number;
	attempts: number;
	error: Trouble | null;
	output: {sha256: string; bytes: number; seconds: number} | null;
	created: number;
	updated: number;
	callback: Told | null;
};

const OVER: readonly State[] = ['done', 'failed', 'cancelled', 'lost'];

/** Whether nothing more will become of it. */
export const over = ({state}: Render): boolean => OVER.includes(state);

export class Store {
	readonly #renders = new Map<string, Render>();
	readonly #records: string;
	readonly #films: string;
	readonly jobs: string;

	constructor(folder: string) {
		this.#records = join(folder, 'renders');
		this.#films = join(folder, 'films');
		this.jobs = join(folder, 'jobs');
		for (const each of [this.#records, this.#films, this.jobs]) {
			mkdirSync(each, {recursive: true, mode: 0o700});
		}
		for (const name of readdirSync(this.#records)) {
			if (name.endsWith('.json')) {
				this.#read(name);
			} else {
				rmSync(join(this.#records, name), {force: true});
			}
		}
	}

	/** The render, or undefined. One whose film or record has gone is `lost`. */
	get(id: string): Render | undefined {
		const render = this.#renders.get(id);
		if (render?.state === 'done' && !existsSync(this.film(id))) {
			return this.save({...render, state: 'lost', output: null});
		}
		return render;
	}

	all(): Render[] {
		return [...this.#renders.values()];
	}

	/** Remove the films that no render knows of. */
	tidy(): void {
		for (const name of readdirSync(this.#films)) {
			if (this.#renders.get(name.slice(0, -'.mp4'.length))?.state !== 'done') {
				rmSync(join(this.#films, name), {force: true});
			}
		}
	}

	/** Where the finished film of a render lies. */
	film(id: string): string {
		return join(this.#films, `${id}.mp4`);
	}

	/** On disk, then true: what was answered survives the process. */
	save(render: Render): Render {
		const changed = {...render, updated: Date.now()};
		const path = join(this.#records, `${render.render_id}.json`);
		const file = openSync(`${path}.new`, 'w', 0o600);
		try {
			writeSync(file, JSON.stringify(changed));
			fsyncSync(file);
		} finally {
			closeSync(file);
		}
		renameSync(`${path}.new`, path);
		this.#renders.set(render.render_id, changed);
		return changed;
	}

	/** Remember how far it is. Only for those who ask: after a restart it begins again. */
	note(id: string, state: State, progress: number): void {
		const render = this.#renders.get(id);
		if (render && !over(render)) {
			this.#renders.set(id, {...render, state, progress: Math.max(progress, render.progress), updated: Date.now()});
		}
	}

	forget(id: string): void {
		this.#renders.delete(id);
		rmSync(join(this.#records, `${id}.json`), {force: true});
		rmSync(this.film(id), {force: true});
	}

	#read(name: string): void {
		const id = name.slice(0, -'.json'.length);
		try {
			const render = JSON.parse(readFileSync(join(this.#records, name), 'utf8')) as Render;
			if (render.render_id !== id || !render.request || !render.state) {
				throw new Error('not a record');
			}
			this.#renders.set(id, render);
		} catch {
			this.#renders.set(id, lost(id));
		}
	}
}

/** The same for the same request, whatever the order of its keys. */
export const digestOf = (request: Request): string => createHash('sha256').update(JSON.stringify(sorted(request))).digest('hex');

const sorted = (value: unknown): unknown => {
	if (Array.isArray(value)) {
		return value.map(sorted);
	}
	if (value && typeof value === 'object') {
		return Object.fromEntries(
			Object.entries(value)
				.sort(([a], [b]) => (a < b ? -1 : 1))
				.map(([key, inner]) => [key, sorted(inner)]),
		);
	}
	return value;
};

const lost = (id: string): Render => ({
	render_id: id,
	request: {} as Request,
	digest: '',
	state: 'lost',
	progress: 0,
	attempts: 0,
	error: {code: 'lost', message: 'The record of this render cannot be read.'},
	output: null,
	created: 0,
	updated: Date.now(),
	callback: null,
});
