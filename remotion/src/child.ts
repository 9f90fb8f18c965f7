/**
 * One render, in a process of its own: `child.js <job folder>`.
 *
 * The folder holds `job.json`, a copy of the site with the clips in it, and room for temporary files. What happens is
 * told as lines of JSON on descriptor 3; Remotion prints to the others.
 */
import {readFileSync, writeSync} from 'node:fs';
import net from 'node:net';
import {join} from 'node:path';
import {getVideoMetadata, openBrowser, renderMedia, selectComposition} from '@remotion/renderer';
import type {FilmProps} from '../film/manifest.ts';
import type {Said} from './job.ts';

export type Task = {composition: string; props: FilmProps; chromium: string; frames: number};

// Remotion's own server would listen on every address, and fetch any URL for whoever reaches it.
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (this: net.Server, ...given: unknown[]) {
	const [first] = given;
	return Reflect.apply(listen, this, typeof first === 'object' ? [{...first, host: '127.0.0.1'}, ...given.slice(1)] : given);
} as typeof listen;

const tell = (said: Said): void => {
	writeSync(3, `${JSON.stringify(said)}\n`);
};

const folder = process.argv[2]!;
const {composition: id, props, chromium, frames} = JSON.parse(readFileSync(join(folder, 'job.json'), 'utf8')) as Task;
const film = join(folder, 'film.mp4');
const {width, height, fps} = props.manifest;
const chromeMode = chromium.includes('headless-shell') ? 'headless-shell' : 'chrome-for-testing';

const browser = await openBrowser('chrome', {browserExecutable: chromium, chromeMode});
const shared = {
	serveUrl: join(folder, 'site'),
	inputProps: props,
	puppeteerInstance: browser,
	browserExecutable: chromium,
	chromeMode,
	logLevel: 'error',
} as const;
const composition = await selectComposition({...shared, id});
let told = 0;
await renderMedia({
	...shared,
	composition,
	outputLocation: film,
	codec: 'h264',
	x264Preset: 'veryfast',
	crf: 18,
	gopSize: 2 * fps,
	pixelFormat: 'yuv420p',
	colorSpace: 'bt709',
	audioCodec: 'aac',
	// The sound is mastered, and so coded, once more by whoever asked.
	audioBitrate: '320k',
	sampleRate: 48_000,
	enforceAudioTrack: true,
	imageFormat: 'jpeg',
	jpegQuality: 92,
	hardwareAcceleration: 'disable',
	concurrency: 1,
	onProgress: ({renderedFrames, stitchStage, progress}) => {
		if (Date.now() - told < 500) {
			return;
		}
		told = Date.now();
		const encoding = renderedFrames >= frames || stitchStage === 'muxing';
		tell({state: encoding ? 'encoding' : 'rendering', progress: Math.min(1, progress)});
	},
});
tell({state: 'checking', progress: 1});
const made = await getVideoMetadata(film, {logLevel: 'error'});
const seen = `${made.width}x${made.height} at ${made.fps}, ${made.codec} and ${made.audioCodec}, ${made.durationInSeconds} s`;
const right =
	made.width === width &&
	made.height === height &&
	made.fps === fps &&
	made.codec === 'h264' &&
	made.audioCodec === 'aac' &&
	Math.abs((made.durationInSeconds ?? 0) - frames / fps) <= 0.1;
if (right) {
	tell({done: {seconds: made.durationInSeconds ?? 0}});
} else {
	tell({failed: {code: 'film_wrong', message: `The film came out as ${seen}.`}});
}
await browser.close({silent: true});
process.exit(0);
