import type {CSSProperties, FC} from 'react';
import {Easing, interpolate, useCurrentFrame, useVideoConfig} from 'remotion';
import {type FittedText, FONT_FAMILY} from './typography.ts';

const EASING = Easing.bezier(0.16, 1, 0.3, 1);

/** Return the eased progress, 0..1, of an animation that starts at `startFrame` and lasts `frames`; fast at first. */
export const easeProgress = (frame: number, startFrame: number, frames: number): number =>
	interpolate(frame, [startFrame, startFrame + Math.max(1, frames)], [0, 1], {
		extrapolateLeft: 'clamp',
		extrapolateRight: 'clamp',
		easing: EASING,
	});

/** Return the style of white text that is legible on any picture: a dark outline and a soft shadow. */
export const outlinedTextStyle = (fontSize: number): CSSProperties => ({
	fontFamily: `"${FONT_FAMILY}"`,
	fontWeight: 800,
	fontSize,
	color: 'white',
	WebkitTextStroke: `${Math.max(1, fontSize * 0.15)}px rgba(8,10,16,.92)`,
	paintOrder: 'stroke fill',
	textShadow: `0 ${fontSize * 0.05}px ${fontSize * 0.14}px rgba(0,0,0,.5)`,
	whiteSpace: 'pre',
});

/** Lines of words that rise into place one after the other, starting at frame `startFrame`. */
export const AnimatedText: FC<{text: FittedText; startFrame: number; style?: CSSProperties; align?: 'center' | 'flex-start'}> = ({
	text,
	startFrame,
	style,
	align = 'center',
}) => {
	const frame = useCurrentFrame();
	const {fps} = useVideoConfig();
	let wordIndex = 0;
	return (
		<div style={{...outlinedTextStyle(text.fontSize), lineHeight: 1.16, ...style}}>
			{text.lines.map((line, row) => (
				<div key={row} dir="auto" style={{display: 'flex', justifyContent: align, gap: text.fontSize * 0.26}}>
					{line.map((word, column) => {
						const progress = easeProgress(frame, startFrame + wordIndex++ * fps * 0.05, fps * 0.45);
						return (
							<span
								key={column}
								style={{
									display: 'inline-block',
									opacity: Math.min(1, progress * 1.4),
									transform: `translateY(${(1 - progress) * text.fontSize * 0.3}px)`,
								}}
							>
								{word}
							</span>
						);
					})}
				</div>
			))}
		</div>
	);
};
