import type {FC} from 'react';
import {AbsoluteFill, useCurrentFrame, useVideoConfig} from 'remotion';
import {Clips} from './Clips.tsx';
import type {FilmProps, Look} from './manifest.ts';
import {type Cut, textShare, timeline} from './timeline.ts';
import {FAMILY, fitted} from './type.ts';
import {Words, come} from './Words.tsx';
import {zone} from './zone.ts';

/** Title card over the first clip, captions, clips that settle into place, end card over the last. */
export const Shorts: FC<FilmProps> = ({manifest, look}) => {
	const {fps} = useVideoConfig();
	const cuts = timeline(manifest);
	const title = look.title ? cardFrames(cuts[0]!, cuts[0]!.fadeOut, fps) : 0;
	const last = cuts.at(-1)!;
	const end = cardFrames(last, last.fadeIn + (cuts.length === 1 ? title : 0), fps);
	return (
		<Clips
			manifest={manifest}
			cuts={cuts}
			coming={(shown) => ({opacity: shown, transform: `scale(${1 + 0.05 * (1 - come(shown, 0, 1)) ** 2})`})}
			over={(cut, number) => {
				const frames = cut.end - cut.first;
				const isFirst = number === 0;
				const isLast = number === cuts.length - 1;
				return (
					<>
						<Caption
							text={manifest.clips[number]!.overlay}
							cut={cut}
							from={isFirst ? title : cut.fadeIn / 2}
							until={isLast ? frames - end : frames}
						/>
						{isFirst && title ? <TitleCard look={look} frames={title} /> : null}
						{isLast ? <EndCard look={look} from={frames - end} frames={end} /> : null}
					</>
				);
			}}
		/>
	);
};

/** How long a card stays: two seconds, or less than half of what its clip has for itself. */
const cardFrames = (cut: Cut, taken: number, fps: number): number =>
	Math.max(0, Math.min(Math.round(2 * fps), Math.floor((cut.end - cut.first - taken) * 0.48)));

/** The clip's words at the foot of the safe zone. They go before the next clip's words come. */
const Caption: FC<{text: string; cut: Cut; from: number; until: number}> = ({text, cut, from, until}) => {
	const frame = useCurrentFrame();
	const {width, height, fps} = useVideoConfig();
	if (!text.trim() || frame < from || frame >= until) {
		return null;
	}
	const {room, left, right, bottom, unit} = zone(width, height);
	// The outline and the shadow lie outside the letters, and still inside the zone.
	const words = fitted(text, {room: room - 28 * unit, largest: Math.round(76 * unit), lines: 2});
	const going = Math.min(1, (until - frame) / (fps * 0.25));
	return (
		<div
			style={{
				position: 'absolute',
				left,
				right,
				bottom: bottom + 18 * unit,
				opacity: Math.min(textShare(cut, frame), going),
			}}
		>
			<Words text={words} from={from} />
		</div>
	);
};

const TitleCard: FC<{look: Look; frames: number}> = ({look, frames}) => {
	const frame = useCurrentFrame();
	const {width, height, fps} = useVideoConfig();
	if (frame >= frames) {
		return null;
	}
	const {left, room, top, bottom, unit} = zone(width, height);
	const gone = come(frame, frames - fps * 0.35, fps * 0.35);
	const words = fitted(look.title, {room: room - 24 * unit, largest: Math.round(124 * unit), lines: 4});
	return (
		<AbsoluteFill style={{opacity: 1 - gone}}>
			<AbsoluteFill style={{background: 'rgba(8,10,18,.50)', backdropFilter: `blur(${26 * unit}px)`}} />
			<div
				style={{
					position: 'absolute',
					left: left + 12 * unit,
					width: room - 24 * unit,
					top,
					bottom,
					display: 'flex',
					flexDirection: 'column',
					justifyContent: 'center',
					transform: `translateY(${-gone * 24 * unit}px)`,
				}}
			>
				<Kicker text={look.kicker} color={look.accent} unit={unit} from={fps * 0.15} room={room - 24 * unit} />
				<Words
					text={words}
					from={fps * 0.1}
					align="flex-start"
					style={{WebkitTextStroke: '0', lineHeight: 1.04, letterSpacing: '-0.022em'}}
				/>
				<Bar color={look.accent} unit={unit} from={fps * 0.35} width={0.34 * room} />
			</div>
		</AbsoluteFill>
	);
};

const EndCard: FC<{look: Look; from: number; frames: number}> = ({look, from, frames}) => {
	const frame = useCurrentFrame();
	const {width, height, fps} = useVideoConfig();
	if (frame < from || frames < fps / 2) {
		return null;
	}
	const {left, room, top, bottom, unit} = zone(width, height);
	const there = come(frame, from, fps * 0.6);
	const text = look.end || look.title;
	const words = text ? fitted(text, {room: room - 24 * unit, largest: Math.round(92 * unit), lines: 3}) : null;
	return (
		<AbsoluteFill>
			<AbsoluteFill style={{background: 'rgba(8,10,18,.54)', opacity: there, backdropFilter: `blur(${26 * unit}px)`}} />
			<div
				style={{
					position: 'absolute',
					left: left + 12 * unit,
					width: room - 24 * unit,
					top,
					bottom,
					display: 'flex',
					flexDirection: 'column',
					alignItems: 'center',
					justifyContent: 'center',
				}}
			>
				{words ? <Words text={words} from={from} style={{WebkitTextStroke: '0', letterSpacing: '-0.018em'}} /> : null}
				<Bar color={look.accent} unit={unit} from={from + fps * 0.15} width={0.24 * room} middle />
				<div style={{height: 30 * unit}} />
				<Kicker text="Made with AI" color="rgba(255,255,255,.86)" unit={unit} from={from + fps * 0.25} room={room} />
			</div>
		</AbsoluteFill>
	);
};

const Kicker: FC<{text: string; color: string; unit: number; from: number; room: number}> = ({
	text,
	color,
	unit,
	from,
	room,
}) => {
	const frame = useCurrentFrame();
	const {fps} = useVideoConfig();
	if (!text.trim()) {
		return null;
	}
	const {size} = fitted(text.toUpperCase(), {room, largest: Math.round(34 * unit), lines: 1, spacing: 0.16});
	return (
		<div
			style={{
				fontFamily: `"${FAMILY}"`,
				fontWeight: 800,
				fontSize: size,
				letterSpacing: '0.16em',
				textTransform: 'uppercase',
				whiteSpace: 'pre',
				color,
				opacity: come(frame, from, fps * 0.4),
				marginBottom: 22 * unit,
			}}
		>
			{text}
		</div>
	);
};

const Bar: FC<{color: string; unit: number; from: number; width: number; middle?: boolean}> = ({
	color,
	unit,
	from,
	width,
	middle,
}) => {
	const frame = useCurrentFrame();
	const {fps} = useVideoConfig();
	return (
		<div
			style={{
				height: 10 * unit,
				width,
				marginTop: 34 * unit,
				borderRadius: 5 * unit,
				background: color,
				transform: `scaleX(${come(frame, from, fps * 0.5)})`,
				transformOrigin: middle ? 'center' : 'left',
			}}
		/>
	);
};
