/** Settings, read from the environment once. */
import {accessSync, constants} from 'node:fs';
import {availableParallelism} from 'node:os';
import {delimiter, isAbsolute, join, resolve} from 'node:path';

const MIN_SECRET_BYTES = 24;
const BROWSERS = ['chromium-headless-shell', 'chrome-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'];

/** A missing or invalid setting. */
export class SettingsError extends Error {}

export type Settings = {
	host: string;
	port: number;
	stateDir: string;
	/** A base URL that ends in a slash, or a folder. */
	artifacts: URL | string;
	artifactsKey: string | null;
	/** Receiver of render webhooks and the key that signs them; null disables webhooks. */
	callback: {baseUrl: URL; signingKey: Buffer} | null;
	serviceKey: string | null;
	chromium: string;
	concurrency: number;
	maxQueued: number;
	retentionDays: number;
};

type Environment = Record<string, string | undefined>;

/** Return the settings in `env`. Throws SettingsError with one sentence that names the setting. */
export const readSettings = (env: Environment): Settings => {
	const host = env.HOST || '127.0.0.1';
	const serviceKey = env.SERVICE_KEY || null;
	if (!serviceKey && !['127.0.0.1', '::1', 'localhost'].includes(host)) {
		throw new SettingsError('SERVICE_KEY: required when HOST is not a loopback address.');
	}
	return {
		host,
		port: readInteger(env, 'PORT', 8400, 0, 65_535),
		stateDir: resolve(env.STATE_DIR || 'state'),
		artifacts: readArtifactSource(env),
		artifactsKey: env.ARTIFACTS_KEY || null,
		callback: readCallback(env),
		serviceKey,
		chromium: findChromium(env),
		// One render keeps 1.2 cores busy, at any concurrency setting of Remotion.
		concurrency: readInteger(env, 'CONCURRENCY', Math.max(1, Math.floor(availableParallelism() / 2)), 1, 32),
		maxQueued: readInteger(env, 'QUEUE', 20, 1, 1000),
		retentionDays: readInteger(env, 'KEEP_DAYS', 7, 1, 365),
	};
};

const readArtifactSource = (env: Environment): URL | string => {
	const value = env.ARTIFACTS;
	if (!value) {
		throw new SettingsError('ARTIFACTS: required. Set the source of clips: http://127.0.0.1:8000/v1/artifacts/, or a folder.');
	}
	if (/^https?:/.test(value)) {
		return parseUrl('ARTIFACTS', value.endsWith('/') ? value : `${value}/`);
	}
	return resolve(value.replace(/^file:(\/\/)?/, ''));
};

const readCallback = (env: Environment): Settings['callback'] => {
	if (!env.CALLBACK_BASE) {
		return null;
	}
	const baseUrl = parseUrl('CALLBACK_BASE', env.CALLBACK_BASE);
	const encoded = (env.CALLBACK_SECRET ?? '').trim().replace(/^whsec_/, '').replace(/=+$/, '');
	const signingKey = Buffer.from(encoded, 'base64');
	if (!/^[A-Za-z0-9+/]+$/.test(encoded) || signingKey.length < MIN_SECRET_BYTES) {
		throw new SettingsError(`CALLBACK_SECRET: must be whsec_ followed by the base64 of at least ${MIN_SECRET_BYTES} random bytes.`);
	}
	return {baseUrl, signingKey};
};

const parseUrl = (name: string, value: string): URL => {
	const url = URL.canParse(value) ? new URL(value) : null;
	if (!url || !/^https?:$/.test(url.protocol) || url.username || url.search) {
		throw new SettingsError(`${name}: must be an http or https URL without user name or query.`);
	}
	return url;
};

const findChromium = (env: Environment): string => {
	const folders = (env.PATH ?? '').split(delimiter);
	const configured = env.CHROMIUM;
	const names = configured ? [configured] : BROWSERS;
	const candidates = names.flatMap((name) => (isAbsolute(name) ? [name] : folders.map((folder) => join(folder, name))));
	const found = candidates.find(isExecutable);
	if (!found) {
		throw new SettingsError('CHROMIUM: no browser found. On Debian: apt-get install chromium-headless-shell.');
	}
	return found;
};

const isExecutable = (path: string): boolean => {
	try {
		accessSync(path, constants.X_OK);
		return true;
	} catch {
		return false;
	}
};

const readInteger = (env: Environment, name: string, defaultValue: number, min: number, max: number): number => {
	const value = env[name] ?? '';
	const number = value === '' ? defaultValue : Number(value);
	if (!Number.isInteger(number) || number < min || number > max) {
		throw new SettingsError(`${name}: must be an integer from ${min} to ${max}.`);
	}
	return number;
};
