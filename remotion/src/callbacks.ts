/** The end of a render is told by a signed webhook, again and again until it is heard. */
import {createHmac} from 'node:crypto';
import type {Settings} from './settings.ts';
import type {Render, Store, Told} from './store.ts';

/** Seconds before each try after the first; then it is given up. Whoever asked also looks for himself. */
const PAUSES = [1, 5, 30, 120, 600, 3600, 3600, 3600, 3600, 3600, 3600];
const LIMIT_SECONDS = 10;
/** Refusals that may pass: among them 409, where the render's id is not recorded there yet. */
const PASSING = [408, 409, 425, 429];

export class Callbacks {
	readonly #store: Store;
	readonly #settings: Settings;
	readonly #address: () => string;
	readonly #telling = new Set<string>();
	#timer: NodeJS.Timeout | undefined;
	#closed = false;

	/** `address` is where this service is reached. */
	constructor(store: Store, settings: Settings, address: () => string) {
		this.#store = store;
		this.#settings = settings;
		this.#address = address;
	}

	/** The news of a render that ends now; null when nobody is to be told. */
	due(render: Render): Told | null {
		if (!this.#settings.callback || !render.request.run_id) {
			return null;
		}
		// A render that was lost and made again ends twice, and that is two events.
		return {id: `end-${render.created}-${render.render_id}`, tries: 0, next: Date.now(), state: 'due', last: ''};
	}

	/** Tell what is due, and come back for the rest. */
	wake(): void {
		clearTimeout(this.#timer);
		const waiting = this.#store.all().filter((render) => render.callback?.state === 'due' && !this.#telling.has(render.render_id));
		if (this.#closed || !this.#settings.callback || waiting.length === 0) {
			return;
		}
		const now = Date.now();
		for (const render of waiting.filter((each) => each.callback!.next <= now)) {
			this.#telling.add(render.render_id);
			void this.#tell(render).finally(() => {
				this.#telling.delete(render.render_id);
				this.wake();
			});
		}
		const later = waiting.map((each) => each.callback!.next).filter((next) => next > now);
		if (later.length) {
			this.#timer = setTimeout(() => this.wake(), Math.max(10, Math.min(...later) - now));
		}
	}

	close(): void {
		this.#closed = true;
		clearTimeout(this.#timer);
	}

	async #tell(render: Render): Promise<void> {
		const told = render.callback!;
		let status = 0;
		let last: string;
		try {
			status = await this.#post(render, told.id);
			last = `HTTP ${status}`;
		} catch (error) {
			last = error instanceof Error && error.name === 'TimeoutError' ? 'no answer in time' : 'no answer';
		}
		const pause = PAUSES[told.tries];
		const heard = status >= 200 && status < 300;
		const hopeless = pause === undefined || (status >= 400 && status < 500 && !PASSING.includes(status));
		const state = heard ? 'delivered' : hopeless ? 'given_up' : 'due';
		const next = Date.now() + (pause ?? 0) * 1000 * (0.8 + 0.4 * Math.random());
		const now = this.#store.get(render.render_id);
		if (now?.callback?.id === told.id) {
			this.#store.save({...now, callback: {id: told.id, tries: told.tries + 1, next, state, last}});
		}
	}

	async #post(render: Render, id: string): Promise<number> {
		const {base, key} = this.#settings.callback!;
		const url = new URL('/v1/webhooks/remotion', base);
		url.searchParams.set('run_id', render.request.run_id!);
		const body = JSON.stringify({
			type: `render.${render.state === 'done' ? 'completed' : render.state}`,
			timestamp: new Date().toISOString(),
			render_id: render.render_id,
			run_id: render.request.run_id,
			status: render.state === 'done' ? 'completed' : 'failed',
			...(render.state === 'done'
				? {output_url: `${this.#address()}/renders/${render.render_id}/file`}
				: {error: `${render.error?.code}: ${render.error?.message}`}),
		});
		const response = await fetch(url, {
			method: 'POST',
			body,
			redirect: 'manual',
			signal: AbortSignal.timeout(LIMIT_SECONDS * 1000),
			headers: {'content-type': 'application/json', ...signed(key, id, Math.floor(Date.now() / 1000), body)},
		});
		await response.body?.cancel();
		return response.status;
	}
}

/** The three headers of Standard Webhooks for `body`, sent as the delivery `id` at `seconds`. */
export const signed = (key: Buffer, id: string, seconds: number, body: string): Record<string, string> => ({
	'webhook-id': id,
	'webhook-timestamp': String(seconds),
	'webhook-signature': `v1,${createHmac('sha256', key).update(`${id}.${seconds}.${body}`).digest('base64')}`,
});
