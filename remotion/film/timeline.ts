import type {Manifest} from './manifest.ts';

/** The frames of the film that show one clip, from `start` to `end` (exclusive), and its crossfades in frames. */
export type ClipSpan = {start: number; end: number; fadeIn: number; fadeOut: number};

/**
 * Return the span of each clip: the same frames as the embedded renderer's `timeline`.
 *
 * Throws if a clip is shorter than its crossfades.
 */
export const buildTimeline = ({clips, fps, crossfade_seconds}: Manifest): ClipSpan[] => {
	let startSeconds = 0;
	const bounds = clips.map(({seconds}) => {
		const bound = {start: roundHalfToEven(startSeconds * fps), end: roundHalfToEven((startSeconds + seconds) * fps)};
		startSeconds += seconds - crossfade_seconds;
		return bound;
	});
	return bounds.map(({start, end}, index) => {
		const previous = bounds[index - 1];
		const next = bounds[index + 1];
		const span = {start, end, fadeIn: previous ? previous.end - start : 0, fadeOut: next ? end - next.start : 0};
		if (end - start < Math.max(1, span.fadeIn + span.fadeOut)) {
			throw new Error(`Clip ${index + 1} is shorter than its crossfades.`);
		}
		return span;
	});
};

/** Return the number of frames in the film. */
export const countFrames = (manifest: Manifest): number => buildTimeline(manifest).at(-1)!.end;

/** Return the share of this clip against the previous one in the picture, 0..1, at a frame of the clip. */
export const clipOpacity = (span: ClipSpan, frame: number): number => Math.min(1, (frame + 1) / (span.fadeIn + 1));

/** Return the opacity of the clip's text, 0..1, at a frame of the clip. Texts of two clips never overlap. */
export const textOpacity = (span: ClipSpan, frame: number): number => {
	const fadedIn = (frame + 1) / (span.fadeIn + 1);
	const untilFadedOut = (span.end - span.start - frame) / (span.fadeOut + 1);
	return Math.max(0, Math.min(1, 2 * fadedIn - 1, 2 * untilFadedOut - 1));
};

/** Round as Python does, so that both renderers cut at the same frame. */
const roundHalfToEven = (value: number): number => {
	const floor = Math.floor(value);
	const fraction = value - floor;
	return fraction < 0.5 || (fraction === 0.5 && floor % 2 === 0) ? floor : floor + 1;
};
