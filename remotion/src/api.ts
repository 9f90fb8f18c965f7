/** The service's doors. */
import {createHash, timingSafeEqual} from 'node:crypto';
import {createReadStream, statSync} from 'node:fs';
import {createServer, type IncomingMessage, type Server, type ServerResponse} from 'node:http';
import {pipeline} from 'node:stream/promises';
import {VERSION} from 'remotion/version';
import type {Queue} from './queue.ts';
import {COMPOSITIONS, Invalid, MAX_BODY_BYTES, parse} from './schema.ts';
import type {Settings} from './settings.ts';
import type {Render, Store} from './store.ts';

/** An answer that is not the one hoped for. */
class Refusal extends Error {
	constructor(
		readonly status: number,
		readonly code: string,
		message: string,
		readonly headers: Record<string, string> = {},
	) {
		super(message);
	}
}

type House = {settings: Settings; store: Store; queue: Queue; apart: boolean};

export const makeServer = (house: House): Server => {
	const server = createServer({requestTimeout: 30_000, headersTimeout: 10_000}, (request, response) => {
		answer(house, request, response).catch((error: unknown) => {
			refuse(response, error);
		});
	});
	return server;
};

const answer = async (house: House, request: IncomingMessage, response: ServerResponse): Promise<void> => {
	const path = (request.url ?? '/').split('?')[0]!;
	const asked = `${request.method} ${path}`;
	if (asked === 'GET /health') {
		say(response, 200, health(house));
		return;
	}
	admit(house.settings, request);
	if (asked === 'POST /renders') {
		await create(house, request, response);
		return;
	}
	const [, id, file] = /^\/renders\/([A-Za-z0-9_-]{1,128})(\/file)?$/.exec(path) ?? [];
	if (!id || !['GET', 'HEAD', 'DELETE'].includes(request.method!) || (file && request.method === 'DELETE')) {
		throw new Refusal(404, 'not_found', 'There is nothing here.');
	}
	const render = request.method === 'DELETE' ? await house.queue.cancel(id) : house.store.get(id);
	if (!render) {
		throw new Refusal(404, 'render_not_found', 'There is no such render.');
	}
	if (file) {
		await send(house, render, request, response);
	} else {
		say(response, 200, shown(render));
	}
};

const create = async ({queue}: House, request: IncomingMessage, response: ServerResponse): Promise<void> => {
	const taken = queue.take(parse(await bodyOf(request)));
	switch (taken.answer) {
		case 'new':
			say(response, 202, shown(taken.render));
			return;
		case 'known':
			say(response, 200, shown(taken.render));
			return;
		case 'other':
			throw new Refusal(409, 'render_id_taken', 'This render_id stands for another request.');
		case 'full':
			throw new Refusal(429, 'queue_full', 'There is no room for another render now.', {'retry-after': '30'});
	}
};

const send = async ({store}: House, render: Render, request: IncomingMessage, response: ServerResponse): Promise<void> => {
	if (render.state !== 'done') {
		throw new Refusal(409, 'render_not_done', `There is no film: the render is ${render.state}.`);
	}
	const path = store.film(render.render_id);
	response.writeHead(200, {
		'content-type': 'video/mp4',
		'content-length': statSync(path).size,
		etag: `"${render.output?.sha256}"`,
		'cache-control': 'private',
	});
	if (request.method === 'HEAD') {
		response.end();
		return;
	}
	await pipeline(createReadStream(path), response);
};

const shown = (render: Render) => ({
	render_id: render.render_id,
	run_id: render.request.run_id ?? null,
	state: render.state,
	progress: Math.round(render.progress * 1000) / 1000,
	attempts: render.attempts,
	error: render.error,
	output: render.output && {...render.output, url: `/renders/${render.render_id}/file`},
	updated_at: new Date(render.updated).toISOString(),
	callback: render.callback && {state: render.callback.state, tries: render.callback.tries, last: render.callback.last},
});

const health = ({settings, queue, apart}: House) => ({
	status: 'ok',
	remotion: VERSION,
	compositions: Object.keys(COMPOSITIONS),
	queued: queue.waiting(),
	running: queue.running(),
	concurrency: settings.concurrency,
	room: queue.roomy(),
	/** Whether a render has no network but its own loopback. */
	isolated: apart,
	callbacks: settings.callback !== null,
});

const admit = ({serviceKey}: Settings, request: IncomingMessage): void => {
	if (serviceKey && !same(request.headers.authorization ?? '', `Bearer ${serviceKey}`)) {
		throw new Refusal(401, 'unauthorized', 'The service key is missing or wrong.');
	}
	// A page in a browser on this machine could otherwise order films in its user's name, under whatever name it
	// has given to this address.
	const strange = !serviceKey && !/^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(request.headers.host ?? '');
	if (request.headers.origin !== undefined || strange) {
		throw new Refusal(403, 'no_browsers', 'The service answers programs, not pages.');
	}
};

const same = (given: string, wanted: string): boolean => timingSafeEqual(sha(given), sha(wanted));
const sha = (text: string): Buffer => createHash('sha256').update(text).digest();

const bodyOf = async (request: IncomingMessage): Promise<string> => {
	const parts: Buffer[] = [];
	let bytes = 0;
	for await (const part of request) {
		bytes += (part as Buffer).length;
		if (bytes > MAX_BODY_BYTES) {
			throw new Refusal(413, 'body_too_large', `A request has at most ${MAX_BODY_BYTES} bytes.`, {connection: 'close'});
		}
		parts.push(part as Buffer);
	}
	return Buffer.concat(parts).toString('utf8');
};

const say = (response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void => {
	response.writeHead(status, {'content-type': 'application/json', ...headers});
	response.end(JSON.stringify(body));
};

const refuse = (response: ServerResponse, error: unknown): void => {
	if (response.headersSent) {
		response.destroy();
	} else if (error instanceof Refusal) {
		say(response, error.status, {error: {code: error.code, message: error.message}}, error.headers);
	} else if (error instanceof Invalid) {
		say(response, 422, {error: {code: 'invalid_request', message: error.message}});
	} else {
		console.error(error);
		say(response, 500, {error: {code: 'internal_error', message: 'Something went wrong here.'}});
	}
};
