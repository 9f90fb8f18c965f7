import type {Manifest} from './manifest.ts';

/** The frames of the film one clip is seen in, from `first` up to and without `end`. */
export type Cut = {first: number; end: number; fadeIn: number; fadeOut: number};

/**
 * The cut of each clip: the same frames as the embedded renderer's `timeline`.
 *
 * Throws where a clip is shorter than its crossfades.
 */
export const timeline = ({clips, fps, crossfade_seconds}: Manifest): Cut[] => {
	let start = 0;
	const spans = clips.map(({seconds}) => {
		const span = {first: halfEven(start * fps), end: halfEven((start + seconds) * fps)};
		start += seconds - crossfade_seconds;
		return span;
	});
	return spans.map(({first, end}, number) => {
		const before = spans[number - 1];
		const after = spans[number + 1];
		const cut = {first, end, fadeIn: before ? before.end - first : 0, fadeOut: after ? end - after.first : 0};
		if (end - first < Math.max(1, cut.fadeIn + cut.fadeOut)) {
			throw new Error(`Clip ${number + 1} is shorter than its crossfades.`);
		}
		return cut;
	});
};

/** How many frames the film has. */
export const framesOf = (manifest: Manifest): number => timeline(manifest).at(-1)!.end;

/** How much of the picture is this clip's rather than the one's before, 0..1, at a frame of the clip. */
export const share = (cut: Cut, frame: number): number => Math.min(1, (frame + 1) / (cut.fadeIn + 1));

/** How visible the clip's text is, 0..1, at a frame of the clip: one text has gone before the next comes. */
export const textShare = (cut: Cut, frame: number): number => {
	const coming = (frame + 1) / (cut.fadeIn + 1);
	const going = (cut.end - cut.first - frame) / (cut.fadeOut + 1);
	return Math.max(0, Math.min(1, 2 * coming - 1, 2 * going - 1));
};

/** Rounded as Python rounds, so that both renderers cut at the same frame. */
const halfEven = (value: number): number => {
	const below = Math.floor(value);
	const rest = value - below;
	return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
};
