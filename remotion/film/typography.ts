import {continueRender, delayRender, staticFile} from 'remotion';

/** The only typeface, shipped with the site: nothing is downloaded. */
export const FONT_FAMILY = 'Film Inter';

const renderHandle = delayRender('Loading the typeface');
const font = new FontFace(FONT_FAMILY, `url(${staticFile('Inter-ExtraBold.otf')})`, {weight: '800'});
font.load().then(
	() => {
		document.fonts.add(font);
		continueRender(renderHandle);
	},
	(error: unknown) => {
		throw error;
	},
);

let measuringContext: CanvasRenderingContext2D | null = null;

const measureWidth = (text: string, fontSize: number, letterSpacing: number): number => {
	measuringContext ??= document.createElement('canvas').getContext('2d')!;
	measuringContext.font = `800 ${fontSize}px "${FONT_FAMILY}"`;
	return measuringContext.measureText(text).width + letterSpacing * fontSize * text.length;
};

/** The smallest text over a clip in a film 1080 wide, as in the embedded renderer. */
export const MIN_FONT_SIZE = 60;

/** A text broken into lines of words, with a font size in pixels. */
export type FittedText = {fontSize: number; lines: string[][]};

/**
 * Return the text at the largest font size that fits into `maxWidth` pixels and `maxLines` lines.
 *
 * A text with line feeds keeps its lines; those of another are balanced to similar lengths. `letterSpacing` is in em.
 */
export const fitText = (
	text: string,
	{maxWidth, maxFontSize, maxLines, letterSpacing = 0}: {maxWidth: number; maxFontSize: number; maxLines: number; letterSpacing?: number},
): FittedText => {
	const rows = text.split('\n').map((row) => row.split(/[ \t\r\f\v]+/).filter(Boolean));
	const words = rows.flat();
	const counts = rows.length > 1 ? 1 : Math.min(maxLines, words.length);
	for (let fontSize = maxFontSize; fontSize > 8; fontSize -= 2) {
		for (let count = 1; count <= counts; count++) {
			const lines = rows.length > 1 ? rows : balanceLines(words, count, (line) => measureWidth(line, fontSize, letterSpacing));
			if (lines.every((line) => measureWidth(line.join(' '), fontSize, letterSpacing) <= maxWidth)) {
				return {fontSize, lines};
			}
		}
	}
	return {fontSize: 8, lines: rows};
};

/** Break the words into `count` lines so that the longest line is as short as possible. */
const balanceLines = (words: string[], count: number, measureLine: (line: string) => number): string[][] => {
	if (count === 1) {
		return [words];
	}
	let best: string[][] = [words];
	let bestWidth = Infinity;
	for (let wordCount = 1; wordCount <= words.length - count + 1; wordCount++) {
		const lines = [words.slice(0, wordCount), ...balanceLines(words.slice(wordCount), count - 1, measureLine)];
		const width = Math.max(...lines.map((line) => measureLine(line.join(' '))));
		if (width < bestWidth) {
			[best, bestWidth] = [lines, width];
		}
	}
	return best;
};
