import {continueRender, delayRender, staticFile} from 'remotion';

/** The one typeface, shipped with the site: nothing is fetched. */
export const FAMILY = 'Film Inter';

const waiting = delayRender('The typeface is read');
const face = new FontFace(FAMILY, `url(${staticFile('Inter-ExtraBold.otf')})`, {weight: '800'});
face.load().then(
	() => {
		document.fonts.add(face);
		continueRender(waiting);
	},
	(error: unknown) => {
		throw error;
	},
);

let ruler: CanvasRenderingContext2D | null = null;

const widthOf = (text: string, size: number, spacing: number): number => {
	ruler ??= document.createElement('canvas').getContext('2d')!;
	ruler.font = `800 ${size}px "${FAMILY}"`;
	return ruler.measureText(text).width + spacing * size * text.length;
};

export type Fitted = {size: number; lines: string[][]};

/**
 * The largest letters with which `text` fits into `room` pixels and at most `lines` lines, and its lines as words.
 *
 * The lines are as alike in length as the words allow. `spacing` is added between letters, in letters' sizes.
 */
export const fitted = (
	text: string,
	{room, largest, lines: most, spacing = 0}: {room: number; largest: number; lines: number; spacing?: number},
): Fitted => {
	const words = text.split(/\s+/).filter(Boolean);
	for (let size = largest; size > 8; size -= 2) {
		for (let count = 1; count <= Math.min(most, words.length); count++) {
			const broken = balanced(words, count, (line) => widthOf(line, size, spacing));
			if (broken.every((line) => widthOf(line.join(' '), size, spacing) <= room)) {
				return {size, lines: broken};
			}
		}
	}
	return {size: 8, lines: [words]};
};

/** The words in `count` lines, the longest of them as short as can be. */
const balanced = (words: string[], count: number, width: (line: string) => number): string[][] => {
	if (count === 1) {
		return [words];
	}
	let best: string[][] = [words];
	let narrowest = Infinity;
	for (let cut = 1; cut <= words.length - count + 1; cut++) {
		const broken = [words.slice(0, cut), ...balanced(words.slice(cut), count - 1, width)];
		const widest = Math.max(...broken.map((line) => width(line.join(' '))));
		if (widest < narrowest) {
			[best, narrowest] = [broken, widest];
		}
	}
	return best;
};
