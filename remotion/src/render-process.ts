/**
 * One render, in a process of its own: `render-process.js <job folder>`.
 *
 * The folder contains `job.json`, a copy of the site with the clips in it, and a folder for temporary files. Progress and
 * result are written as lines of JSON to descriptor 3, because Remotion prints to standard output and standard error.
 */
import {readFileSync, writeSync} from 'node:fs';
import net from 'node:net';
import {join} from 'node:path';
import {getVideoMetadata, openBrowser, renderMedia, selectComposition} from '@remotion/renderer';
import type {FilmProps} from '../film/manifest.ts';
import type {ProcessMessage} from './render-job.ts';

/** The content of `job.json`. */
export type RenderTask = {composition: string; props: FilmProps; chromium: string; frameCount: number};

const PROGRESS_INTERVAL_MILLISECONDS = 500;

// Remotion's own server would listen on every address, and fetch any URL for any client.
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (this: net.Server, ...args: unknown[]) {
	const [first] = args;
	return Reflect.apply(listen, this, typeof first === 'object' ? [{...first, host: '127.0.0.1'}, ...args.slice(1)] : args);
} as typeof listen;

const sendMessage = (message: ProcessMessage): void => {
	writeSync(3, `${JSON.stringify(message)}\n`);
};

const folder = process.argv[2]!;
const {composition: id, props, chromium, frameCount} = JSON.parse(readFileSync(join(folder, 'job.json'), 'utf8')) as RenderTask;
const filmPath = join(folder, 'film.mp4');
const {width, height, fps} = props.manifest;
const chromeMode = chromium.includes('headless-shell') ? 'headless-shell' : 'chrome-for-testing';

const browser = await openBrowser('chrome', {browserExecutable: chromium, chromeMode});
const sharedOptions = {
	serveUrl: join(folder, 'site'),
	inputProps: props,
	puppeteerInstance: browser,
	browserExecutable: chromium,
	chromeMode,
	logLevel: 'error',
} as const;
const composition = await selectComposition({...sharedOptions, id});
let lastProgressAt = 0;
await renderMedia({
	...sharedOptions,
	composition,
	outputLocation: filmPath,
	codec: 'h264',
	x264Preset: 'veryfast',
	crf: 18,
	gopSize: 2 * fps,
	pixelFormat: 'yuv420p',
	colorSpace: 'bt709',
	audioCodec: 'aac',
	// The client masters the sound and encodes it again.
	audioBitrate: '320k',
	sampleRate: 48_000,
	enforceAudioTrack: true,
	imageFormat: 'jpeg',
	jpegQuality: 92,
	hardwareAcceleration: 'disable',
	concurrency: 1,
	onProgress: ({renderedFrames, stitchStage, progress}) => {
		if (Date.now() - lastProgressAt < PROGRESS_INTERVAL_MILLISECONDS) {
			return;
		}
		lastProgressAt = Date.now();
		const isEncoding = renderedFrames >= frameCount || stitchStage === 'muxing';
		sendMessage({state: isEncoding ? 'encoding' : 'rendering', progress: Math.min(1, progress)});
	},
});
sendMessage({state: 'checking', progress: 1});
const metadata = await getVideoMetadata(filmPath, {logLevel: 'error'});
const isConformant =
	metadata.width === width &&
	metadata.height === height &&
	metadata.fps === fps &&
	metadata.codec === 'h264' &&
	metadata.audioCodec === 'aac' &&
	Math.abs((metadata.durationInSeconds ?? 0) - frameCount / fps) <= 0.1;
if (isConformant) {
	sendMessage({done: {seconds: metadata.durationInSeconds ?? 0}});
} else {
	const observed = `${metadata.width}x${metadata.height} at ${metadata.fps} fps, ${metadata.codec} and ${metadata.audioCodec}, ${metadata.durationInSeconds} s`;
	sendMessage({failed: {code: 'film_wrong', message: `The rendered film does not match the manifest: ${observed}.`}});
}
await browser.close({silent: true});
process.exit(0);
