/** The settings, read from the environment once. */
import {accessSync, constants} from 'node:fs';
import {availableParallelism} from 'node:os';
import {delimiter, isAbsolute, join, resolve} from 'node:path';

const MIN_SECRET_BYTES = 24;
const BROWSERS = ['chromium-headless-shell', 'chrome-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'];

/** A setting that cannot be used. */
export class SettingsError extends Error {}

export type Settings = {
	host: string;
	port: number;
	stateDir: string;
	/** A base address ending in a slash, or a folder. */
	artifacts: URL | string;
	artifactsKey: string | null;
	/** Where ends of renders are told, and the key they are signed with; null when nobody is told. */
	callback: {base: URL; key: Buffer} | null;
	serviceKey: string | null;
	chromium: string;
	concurrency: number;
	queue: number;
	keepDays: number;
};

type Environment = Record<string, string | undefined>;

/** Throws SettingsError: one sentence that names the setting. */
export const readSettings = (env: Environment): Settings => {
	const host = env.HOST || '127.0.0.1';
	const serviceKey = env.SERVICE_KEY || null;
	if (!serviceKey && !['127.0.0.1', '::1', 'localhost'].includes(host)) {
		throw new SettingsError('SERVICE_KEY: it is needed because the service is not bound to loopback alone.');
	}
	return {
		host,
		port: whole(env, 'PORT', 8400, 0, 65_535),
		stateDir: resolve(env.STATE_DIR || 'state'),
		artifacts: artifacts(env),
		artifactsKey: env.ARTIFACTS_KEY || null,
		callback: callback(env),
		serviceKey,
		chromium: chromium(env),
		// One render keeps one and a fifth of a core busy, whatever Remotion is told.
		concurrency: whole(env, 'CONCURRENCY', Math.max(1, Math.floor(availableParallelism() / 2)), 1, 32),
		queue: whole(env, 'QUEUE', 20, 1, 1000),
		keepDays: whole(env, 'KEEP_DAYS', 7, 1, 365),
	};
};

const artifacts = (env: Environment): URL | string => {
	const given = env.ARTIFACTS;
	if (!given) {
		throw new SettingsError('ARTIFACTS: say where the clips are: http://127.0.0.1:8000/v1/artifacts/, or a folder.');
	}
	if (/^https?:/.test(given)) {
		return address('ARTIFACTS', given.endsWith('/') ? given : `${given}/`);
	}
	return resolve(given.replace(/^file:(\/\/)?/, ''));
};

const callback = (env: Environment): Settings['callback'] => {
	if (!env.CALLBACK_BASE) {
		return null;
	}
	const base = address('CALLBACK_BASE', env.CALLBACK_BASE);
	const encoded = (env.CALLBACK_SECRET ?? '').trim().replace(/^whsec_/, '').replace(/=+$/, '');
	const key = Buffer.from(encoded, 'base64');
	if (!/^[A-Za-z0-9+/]+$/.test(encoded) || key.length < MIN_SECRET_BYTES) {
		throw new SettingsError(`CALLBACK_SECRET: it must be whsec_ and the base64 of at least ${MIN_SECRET_BYTES} random bytes.`);
	}
	return {base, key};
};

const address = (name: string, given: string): URL => {
	const url = URL.canParse(given) ? new URL(given) : null;
	if (!url || !/^https?:$/.test(url.protocol) || url.username || url.search) {
		throw new SettingsError(`${name}: it must be an http or https address without a user or a query.`);
	}
	return url;
};

const chromium = (env: Environment): string => {
	const folders = (env.PATH ?? '').split(delimiter);
	const asked = env.CHROMIUM;
	const places = asked && isAbsolute(asked) ? [asked] : (asked ? [asked] : BROWSERS).flatMap((name) => folders.map((folder) => join(folder, name)));
	const found = places.find(runs);
	if (!found) {
		throw new SettingsError('CHROMIUM: no browser was found. On Debian: apt-get install chromium-headless-shell.');
	}
	return found;
};

const runs = (path: string): boolean => {
	try {
		accessSync(path, constants.X_OK);
		return true;
	} catch {
		return false;
	}
};

const whole = (env: Environment, name: string, otherwise: number, least: number, most: number): number => {
	const given = env[name] ?? '';
	const number = given === '' ? otherwise : Number(given);
	if (!Number.isInteger(number) || number < least || number > most) {
		throw new SettingsError(`${name}: it must be a whole number from ${least} to ${most}.`);
	}
	return number;
};
