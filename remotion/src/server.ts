/** The HTTP API of the service. */
import {createHash, timingSafeEqual} from 'node:crypto';
import {createReadStream, statSync} from 'node:fs';
import {createServer, type IncomingMessage, type Server, type ServerResponse} from 'node:http';
import {pipeline} from 'node:stream/promises';
import {VERSION} from 'remotion/version';
import type {RenderQueue} from './queue.ts';
import {COMPOSITIONS, InvalidRequestError, MAX_BODY_BYTES, parseRequest} from './schema.ts';
import type {Settings} from './settings.ts';
import type {Render, RenderStore} from './store.ts';

/** An error response. */
class HttpError extends Error {
	constructor(
		readonly status: number,
		readonly code: string,
		message: string,
		readonly headers: Record<string, string> = {},
	) {
		super(message);
	}
}

type Dependencies = {settings: Settings; store: RenderStore; queue: RenderQueue; isIsolated: boolean};

export const createRenderServer = (dependencies: Dependencies): Server =>
	createServer({requestTimeout: 30_000, headersTimeout: 10_000}, (request, response) => {
		handleRequest(dependencies, request, response).catch((error: unknown) => {
			sendError(response, error);
		});
	});

const handleRequest = async (dependencies: Dependencies, request: IncomingMessage, response: ServerResponse): Promise<void> => {
	const {settings, store, queue} = dependencies;
	const path = (request.url ?? '/').split('?')[0]!;
	const route = `${request.method} ${path}`;
	if (route === 'GET /health') {
		sendJson(response, 200, healthJson(dependencies));
		return;
	}
	authorize(settings, request);
	if (route === 'POST /renders') {
		await createRender(queue, request, response);
		return;
	}
	const [, id, file] = /^\/renders\/([A-Za-z0-9_-]{1,128})(\/file)?$/.exec(path) ?? [];
	if (!id || !['GET', 'HEAD', 'DELETE'].includes(request.method!) || (file && request.method === 'DELETE')) {
		throw new HttpError(404, 'not_found', 'Not found.');
	}
	const render = request.method === 'DELETE' ? await queue.cancel(id) : store.get(id);
	if (!render) {
		throw new HttpError(404, 'render_not_found', 'Render not found.');
	}
	if (file) {
		await sendFilm(store, render, request, response);
	} else {
		sendJson(response, 200, renderJson(render));
	}
};

const createRender = async (queue: RenderQueue, request: IncomingMessage, response: ServerResponse): Promise<void> => {
	const result = queue.enqueue(parseRequest(await readBody(request)));
	switch (result.outcome) {
		case 'created':
			sendJson(response, 202, renderJson(result.render));
			return;
		case 'existing':
			sendJson(response, 200, renderJson(result.render));
			return;
		case 'conflict':
			throw new HttpError(409, 'render_id_taken', 'This render_id belongs to a different request.');
		case 'full':
			throw new HttpError(429, 'queue_full', 'The render queue or the disk is full; retry later.', {'retry-after': '30'});
	}
};

const sendFilm = async (store: RenderStore, render: Render, request: IncomingMessage, response: ServerResponse): Promise<void> => {
	if (render.state !== 'done') {
		throw new HttpError(409, 'render_not_done', `No film available: the render is ${render.state}.`);
	}
	const path = store.filmPath(render.render_id);
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

const renderJson = (render: Render) => ({
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

const healthJson = ({settings, queue, isIsolated}: Dependencies) => ({
	status: 'ok',
	remotion: VERSION,
	compositions: Object.keys(COMPOSITIONS),
	queued: queue.queuedCount(),
	running: queue.runningCount(),
	concurrency: settings.concurrency,
	room: queue.hasDiskSpace(),
	/** True if a render has no network but its own loopback. */
	isolated: isIsolated,
	callbacks: settings.callback !== null,
});

const authorize = ({serviceKey}: Settings, request: IncomingMessage): void => {
	if (serviceKey && !secretsMatch(request.headers.authorization ?? '', `Bearer ${serviceKey}`)) {
		throw new HttpError(401, 'unauthorized', 'Service key missing or invalid.');
	}
	// Without these checks a web page in a browser on this machine could order films for its user: cross-origin, or
	// through a host name that resolves to this address (DNS rebinding).
	const isForeignHost = !serviceKey && !/^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(request.headers.host ?? '');
	if (request.headers.origin !== undefined || isForeignHost) {
		throw new HttpError(403, 'no_browsers', 'Requests from web pages are not allowed.');
	}
};

const secretsMatch = (received: string, expected: string): boolean => timingSafeEqual(sha256(received), sha256(expected));
const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

const readBody = async (request: IncomingMessage): Promise<string> => {
	const chunks: Buffer[] = [];
	let bytes = 0;
	for await (const chunk of request) {
		bytes += (chunk as Buffer).length;
		if (bytes > MAX_BODY_BYTES) {
			throw new HttpError(413, 'body_too_large', `The request body exceeds ${MAX_BODY_BYTES} bytes.`, {connection: 'close'});
		}
		chunks.push(chunk as Buffer);
	}
	return Buffer.concat(chunks).toString('utf8');
};

const sendJson = (response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void => {
	response.writeHead(status, {'content-type': 'application/json', ...headers});
	response.end(JSON.stringify(body));
};

const sendError = (response: ServerResponse, error: unknown): void => {
	if (response.headersSent) {
		response.destroy();
	} else if (error instanceof HttpError) {
		sendJson(response, error.status, {error: {code: error.code, message: error.message}}, error.headers);
	} else if (error instanceof InvalidRequestError) {
		sendJson(response, 422, {error: {code: 'invalid_request', message: error.message}});
	} else {
		console.error(error);
		sendJson(response, 500, {error: {code: 'internal_error', message: 'Internal server error. The details are in the service log.'}});
	}
};
