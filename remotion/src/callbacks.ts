/** Signed webhooks that report the end of a render, with retries. */
import {createHmac} from 'node:crypto';
import type {Settings} from './settings.ts';
import type {CallbackDelivery, Render, RenderStore} from './store.ts';

/** Delays before each attempt after the first; then delivery is given up. The client also polls the render. */
const RETRY_DELAYS_SECONDS = [1, 5, 30, 120, 600, 3600, 3600, 3600, 3600, 3600, 3600];
const REQUEST_TIMEOUT_SECONDS = 10;
/** Retryable 4xx statuses. 409 means that the receiver has not recorded the render's id so far. */
const RETRYABLE_STATUSES = [408, 409, 425, 429];

export class CallbackSender {
	readonly #store: RenderStore;
	readonly #settings: Settings;
	readonly #getServiceUrl: () => string;
	readonly #inFlight = new Set<string>();
	#timer: NodeJS.Timeout | undefined;
	#closed = false;

	/** `getServiceUrl` returns the base URL of this service. */
	constructor(store: RenderStore, settings: Settings, getServiceUrl: () => string) {
		this.#store = store;
		this.#settings = settings;
		this.#getServiceUrl = getServiceUrl;
	}

	/** Return the delivery for a render that ends now; null if no webhook is configured or the render has no run. */
	createDelivery(render: Render): CallbackDelivery | null {
		if (!this.#settings.callback || !render.request.run_id) {
			return null;
		}
		// A render that was lost and placed again ends twice: each end is an event of its own, with `created` in its id.
		return {id: `end-${render.created}-${render.render_id}`, tries: 0, next: Date.now(), state: 'due', last: ''};
	}

	/** Send the deliveries that are due, and schedule the others. */
	sendDue(): void {
		clearTimeout(this.#timer);
		const pending = this.#store.list().filter((render) => render.callback?.state === 'due' && !this.#inFlight.has(render.render_id));
		if (this.#closed || !this.#settings.callback || pending.length === 0) {
			return;
		}
		const now = Date.now();
		for (const render of pending.filter((each) => each.callback!.next <= now)) {
			this.#inFlight.add(render.render_id);
			void this.#deliver(render).finally(() => {
				this.#inFlight.delete(render.render_id);
				this.sendDue();
			});
		}
		const upcoming = pending.map((each) => each.callback!.next).filter((next) => next > now);
		if (upcoming.length) {
			this.#timer = setTimeout(() => this.sendDue(), Math.max(10, Math.min(...upcoming) - now));
		}
	}

	close(): void {
		this.#closed = true;
		clearTimeout(this.#timer);
	}

	async #deliver(render: Render): Promise<void> {
		const delivery = render.callback!;
		let status = 0;
		let last: string;
		try {
			status = await this.#post(render, delivery.id);
			last = `HTTP ${status}`;
		} catch (error) {
			last = error instanceof Error && error.name === 'TimeoutError' ? 'request timed out' : 'no response';
		}
		const delay = RETRY_DELAYS_SECONDS[delivery.tries];
		const isDelivered = status >= 200 && status < 300;
		const isPermanent = delay === undefined || (status >= 400 && status < 500 && !RETRYABLE_STATUSES.includes(status));
		const state = isDelivered ? 'delivered' : isPermanent ? 'given_up' : 'due';
		const next = Date.now() + (delay ?? 0) * 1000 * (0.8 + 0.4 * Math.random());
		const current = this.#store.get(render.render_id);
		if (current?.callback?.id === delivery.id) {
			this.#store.save({...current, callback: {id: delivery.id, tries: delivery.tries + 1, next, state, last}});
		}
	}

	async #post(render: Render, id: string): Promise<number> {
		const {baseUrl, signingKey} = this.#settings.callback!;
		const url = new URL('/v1/webhooks/remotion', baseUrl);
		url.searchParams.set('run_id', render.request.run_id!);
		const body = JSON.stringify({
			type: `render.${render.state === 'done' ? 'completed' : render.state}`,
			timestamp: new Date().toISOString(),
			render_id: render.render_id,
			run_id: render.request.run_id,
			status: render.state === 'done' ? 'completed' : 'failed',
			...(render.state === 'done'
				? {output_url: `${this.#getServiceUrl()}/renders/${render.render_id}/file`}
				: {error: `${render.error?.code}: ${render.error?.message}`}),
		});
		const response = await fetch(url, {
			method: 'POST',
			body,
			redirect: 'manual',
			signal: AbortSignal.timeout(REQUEST_TIMEOUT_SECONDS * 1000),
			headers: {'content-type': 'application/json', ...signWebhook(signingKey, id, Math.floor(Date.now() / 1000), body)},
		});
		await response.body?.cancel();
		return response.status;
	}
}

/** Return the three Standard Webhooks headers for `body`, sent as delivery `id` at `timestamp` (Unix seconds). */
export const signWebhook = (key: Buffer, id: string, timestamp: number, body: string): Record<string, string> => ({
	'webhook-id': id,
	'webhook-timestamp': String(timestamp),
	'webhook-signature': `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`,
});
