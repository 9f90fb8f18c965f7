import type {FC} from 'react';
import {AbsoluteFill, interpolate, useCurrentFrame, useVideoConfig} from 'remotion';
import {Clips} from './Clips.tsx';
import type {FilmProps, Look} from './manifest.ts';
import {type Cut, textShare, timeline} from './timeline.ts';
import {FAMILY, fitted} from './type.ts';
import {come, outlined} from './Words.tsx';
import {zone} from './zone.ts';

/** One calm clip dissolving into the next, and "Sign — Object" that goes with the dissolve. */
export const Aismr: FC<FilmProps> = ({manifest, look}) => {
	const cuts = timeline(manifest);
	return (
		<Clips
			manifest={manifest}
			cuts={cuts}
			coming={(shown) => ({opacity: shown})}
			over={(cut, number) => (
				<>
					<Overlay text={manifest.clips[number]!.overlay} cut={cut} look={look} />
					{number === 0 && look.title ? <Title look={look} cut={cut} /> : null}
				</>
			)}
		/>
	);
};

/** The sign large, a hairline, the object beneath. A text without a dash is one line or two of its own. */
const Overlay: FC<{text: string; cut: Cut; look: Look}> = ({text, cut, look}) => {
	const frame = useCurrentFrame();
	const {width, height, fps} = useVideoConfig();
	const visible = textShare(cut, frame);
	if (!text.trim() || visible <= 0) {
		return null;
	}
	const {room, left, right, bottom, unit} = zone(width, height);
	const [sign = '', ...rest] = text.split(/\s+[—–-]\s+/);
	const object = rest.join(' — ');
	const inside = room - 28 * unit;
	const first = fitted(object ? sign.toUpperCase() : sign, {
		room: inside,
		largest: Math.round(86 * unit),
		lines: object ? 1 : 2,
		spacing: object ? 0.06 : 0,
	});
	const second = object ? fitted(object, {room: inside, largest: Math.round(60 * unit), lines: 2}) : null;
	// Letters draw together as the text comes: slow, and never wider than where it started to be fitted.
	const settle = interpolate(visible, [0, 1], [0.94, 1]);
	const line = come(frame, cut.fadeIn / 2, fps * 1.2);
	return (
		<div
			style={{
				position: 'absolute',
				left,
				right,
				bottom: bottom + 18 * unit,
				opacity: visible,
				transform: `scale(${settle})`,
				transformOrigin: '50% 100%',
				textAlign: 'center',
			}}
		>
			<div style={{...outlined(first.size), lineHeight: 1.14, letterSpacing: object ? '0.06em' : 0, marginRight: object ? '-0.06em' : 0}}>
				{first.lines.map((words, row) => (
					<div key={row}>{words.join(' ')}</div>
				))}
			</div>
			{second ? (
				<>
					<div
						style={{
							width: 150 * unit,
							height: 5 * unit,
							margin: `${12 * unit}px auto ${10 * unit}px`,
							background: look.accent,
							boxShadow: '0 0 6px rgba(0,0,0,.45)',
							transform: `scaleX(${line})`,
						}}
					/>
					<div style={{...outlined(second.size), lineHeight: 1.16}}>
						{second.lines.map((words, row) => (
							<div key={row}>{words.join(' ')}</div>
						))}
					</div>
				</>
			) : null}
		</div>
	);
};

/** The title, small and spaced, at the head of the safe zone while the first clip opens. */
const Title: FC<{look: Look; cut: Cut}> = ({look, cut}) => {
	const frame = useCurrentFrame();
	const {width, height, fps} = useVideoConfig();
	const {top, left, right, room, unit} = zone(width, height);
	const most = Math.min(3 * fps, cut.end - cut.first - cut.fadeOut);
	const visible = Math.min(come(frame, fps * 0.2, fps * 0.8), 1 - come(frame, most - fps * 0.6, fps * 0.6));
	if (visible <= 0) {
		return null;
	}
	const words = fitted(look.title.toUpperCase(), {room: room - 28 * unit, largest: Math.round(44 * unit), lines: 2, spacing: 0.2});
	return (
		<AbsoluteFill style={{opacity: visible}}>
			<div
				style={{
					position: 'absolute',
					top: top + 20 * unit,
					left,
					right,
					textAlign: 'center',
					...outlined(words.size),
					WebkitTextStroke: '0',
					fontFamily: `"${FAMILY}"`,
					letterSpacing: '0.2em',
					lineHeight: 1.3,
				}}
			>
				{words.lines.map((line, row) => (
					<div key={row} style={{marginRight: '-0.2em'}}>
						{line.join(' ')}
					</div>
				))}
			</div>
		</AbsoluteFill>
	);
};
