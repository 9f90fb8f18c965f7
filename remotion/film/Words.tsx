import type {CSSProperties, FC} from 'react';
import {Easing, interpolate, useCurrentFrame, useVideoConfig} from 'remotion';
import {FAMILY, type Fitted} from './type.ts';

const EASE = Easing.bezier(0.16, 1, 0.3, 1);

/** How far something that starts at `from` and takes `length` frames has come, 0..1, fast first. */
export const come = (frame: number, from: number, length: number): number =>
	interpolate(frame, [from, from + Math.max(1, length)], [0, 1], {
		extrapolateLeft: 'clamp',
		extrapolateRight: 'clamp',
		easing: EASE,
	});

/** A white letter on any picture: a dark outline behind it and a soft shadow. */
export const outlined = (size: number): CSSProperties => ({
	fontFamily: `"${FAMILY}"`,
	fontWeight: 800,
	fontSize: size,
	color: 'white',
	WebkitTextStroke: `${Math.max(1, size * 0.15)}px rgba(8,10,16,.92)`,
	paintOrder: 'stroke fill',
	textShadow: `0 ${size * 0.05}px ${size * 0.14}px rgba(0,0,0,.5)`,
	whiteSpace: 'pre',
});

/** Lines of words that rise into their place one after the other, from frame `from` on. */
export const Words: FC<{text: Fitted; from: number; style?: CSSProperties; align?: 'center' | 'flex-start'}> = ({
	text,
	from,
	style,
	align = 'center',
}) => {
	const frame = useCurrentFrame();
	const {fps} = useVideoConfig();
	let turn = 0;
	return (
		<div style={{...outlined(text.size), lineHeight: 1.16, ...style}}>
			{text.lines.map((line, row) => (
				<div key={row} style={{display: 'flex', justifyContent: align, gap: text.size * 0.26}}>
					{line.map((word, column) => {
						const there = come(frame, from + turn++ * fps * 0.05, fps * 0.45);
						return (
							<span
								key={column}
								style={{
									display: 'inline-block',
									opacity: Math.min(1, there * 1.4),
									transform: `translateY(${(1 - there) * text.size * 0.3}px)`,
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
