import type {FC} from 'react';
import {AbsoluteFill, useCurrentFrame, useVideoConfig} from 'remotion';
import {AnimatedText, easeProgress} from './AnimatedText.tsx';
import {ClipSequence} from './ClipSequence.tsx';
import type {CompositionOptions, FilmProps} from './manifest.ts';
import {safeZone} from './safe-zone.ts';
import {buildTimeline, type ClipSpan, textOpacity} from './timeline.ts';
import {fitText, FONT_FAMILY} from './typography.ts';

/** A title card over the first clip, captions, clips that settle into place, and an end card over the last clip. */
export const Shorts: FC<FilmProps> = ({manifest, options}) => {
	const {fps} = useVideoConfig();
	const spans = buildTimeline(manifest);
	const firstSpan = spans[0]!;
	const lastSpan = spans.at(-1)!;
	const titleFrames = options.title ? cardFrames(firstSpan, firstSpan.fadeOut, fps) : 0;
	const endFrames = cardFrames(lastSpan, lastSpan.fadeIn + (spans.length === 1 ? titleFrames : 0), fps);
	return (
		<ClipSequence
			manifest={manifest}
			spans={spans}
			entranceStyle={(share) => ({opacity: share, transform: `scale(${1 + 0.05 * (1 - easeProgress(share, 0, 1)) ** 2})`})}
			renderOverlay={(span, index) => {
				const frames = span.end - span.start;
				const isFirst = index === 0;
				const isLast = index === spans.length - 1;
				return (
					<>
						<Caption
							text={manifest.clips[index]!.overlay}
							span={span}
							startFrame={isFirst ? titleFrames : span.fadeIn / 2}
							endFrame={isLast ? frames - endFrames : frames}
						/>
						{isFirst && titleFrames ? <TitleCard options={options} frames={titleFrames} /> : null}
						{isLast ? <EndCard options={options} startFrame={frames - endFrames} frames={endFrames} /> : null}
					</>
				);
			}}
		/>
	);
};

/** Return the length of a card: two seconds, or 48 % of the clip's free frames if that is less. */
const cardFrames = (span: ClipSpan, usedFrames: number, fps: number): number =>
	Math.max(0, Math.min(Math.round(2 * fps), Math.floor((span.end - span.start - usedFrames) * 0.48)));

/** The clip's text at the bottom of the safe zone. It disappears before the next clip's text enters. */
const Caption: FC<{text: string; span: ClipSpan; startFrame: number; endFrame: number}> = ({text, span, startFrame, endFrame}) => {
	const frame = useCurrentFrame();
	const {width, height, fps} = useVideoConfig();
	if (!text.trim() || frame < startFrame || frame >= endFrame) {
		return null;
	}
	const {zoneWidth, left, right, bottom, scale} = safeZone(width, height);
	// The outline and the shadow extend beyond the letters and must stay inside the safe zone.
	const fitted = fitText(text, {maxWidth: zoneWidth - 28 * scale, maxFontSize: Math.round(76 * scale), maxLines: 2});
	const exitOpacity = Math.min(1, (endFrame - frame) / (fps * 0.25));
	return (
		<div
			style={{
				position: 'absolute',
				left,
				right,
				bottom: bottom + 18 * scale,
				opacity: Math.min(textOpacity(span, frame), exitOpacity),
			}}
		>
			<AnimatedText text={fitted} startFrame={startFrame} />
		</div>
	);
};

const TitleCard: FC<{options: CompositionOptions; frames: number}> = ({options, frames}) => {
	const frame = useCurrentFrame();
	const {width, height, fps} = useVideoConfig();
	if (frame >= frames) {
		return null;
	}
	const {left, zoneWidth, top, bottom, scale} = safeZone(width, height);
	const exitProgress = easeProgress(frame, frames - fps * 0.35, fps * 0.35);
	const maxWidth = zoneWidth - 24 * scale;
	const text = fitText(options.title, {maxWidth, maxFontSize: Math.round(124 * scale), maxLines: 4});
	return (
		<AbsoluteFill style={{opacity: 1 - exitProgress}}>
			<AbsoluteFill style={{background: 'rgba(8,10,18,.50)', backdropFilter: `blur(${26 * scale}px)`}} />
			<div
				style={{
					position: 'absolute',
					left: left + 12 * scale,
					width: maxWidth,
					top,
					bottom,
					display: 'flex',
					flexDirection: 'column',
					justifyContent: 'center',
					transform: `translateY(${-exitProgress * 24 * scale}px)`,
				}}
			>
				<Kicker text={options.kicker} color={options.accent} scale={scale} startFrame={fps * 0.15} maxWidth={maxWidth} />
				<AnimatedText
					text={text}
					startFrame={fps * 0.1}
					align="flex-start"
					style={{WebkitTextStroke: '0', lineHeight: 1.04, letterSpacing: '-0.022em'}}
				/>
				<Bar color={options.accent} scale={scale} startFrame={fps * 0.35} width={0.34 * zoneWidth} />
			</div>
		</AbsoluteFill>
	);
};

const EndCard: FC<{options: CompositionOptions; startFrame: number; frames: number}> = ({options, startFrame, frames}) => {
	const frame = useCurrentFrame();
	const {width, height, fps} = useVideoConfig();
	if (frame < startFrame || frames < fps / 2) {
		return null;
	}
	const {left, zoneWidth, top, bottom, scale} = safeZone(width, height);
	const opacity = easeProgress(frame, startFrame, fps * 0.6);
	const maxWidth = zoneWidth - 24 * scale;
	const endText = options.end || options.title;
	const text = endText ? fitText(endText, {maxWidth, maxFontSize: Math.round(92 * scale), maxLines: 3}) : null;
	return (
		<AbsoluteFill>
			<AbsoluteFill style={{background: 'rgba(8,10,18,.54)', opacity, backdropFilter: `blur(${26 * scale}px)`}} />
			<div
				style={{
					position: 'absolute',
					left: left + 12 * scale,
					width: maxWidth,
					top,
					bottom,
					display: 'flex',
					flexDirection: 'column',
					alignItems: 'center',
					justifyContent: 'center',
				}}
			>
				{text ? <AnimatedText text={text} startFrame={startFrame} style={{WebkitTextStroke: '0', letterSpacing: '-0.018em'}} /> : null}
				<Bar color={options.accent} scale={scale} startFrame={startFrame + fps * 0.15} width={0.24 * zoneWidth} isCentered />
				<div style={{height: 30 * scale}} />
				<Kicker
					text="Made with AI"
					color="rgba(255,255,255,.86)"
					scale={scale}
					startFrame={startFrame + fps * 0.25}
					maxWidth={zoneWidth}
				/>
			</div>
		</AbsoluteFill>
	);
};

const Kicker: FC<{text: string; color: string; scale: number; startFrame: number; maxWidth: number}> = ({
	text,
	color,
	scale,
	startFrame,
	maxWidth,
}) => {
	const frame = useCurrentFrame();
	const {fps} = useVideoConfig();
	if (!text.trim()) {
		return null;
	}
	const {fontSize} = fitText(text.toUpperCase(), {maxWidth, maxFontSize: Math.round(34 * scale), maxLines: 1, letterSpacing: 0.16});
	return (
		<div
			style={{
				fontFamily: `"${FONT_FAMILY}"`,
				fontWeight: 800,
				fontSize,
				letterSpacing: '0.16em',
				textTransform: 'uppercase',
				whiteSpace: 'pre',
				color,
				opacity: easeProgress(frame, startFrame, fps * 0.4),
				marginBottom: 22 * scale,
			}}
		>
			{text}
		</div>
	);
};

const Bar: FC<{color: string; scale: number; startFrame: number; width: number; isCentered?: boolean}> = ({
	color,
	scale,
	startFrame,
	width,
	isCentered,
}) => {
	const frame = useCurrentFrame();
	const {fps} = useVideoConfig();
	return (
		<div
			style={{
				height: 10 * scale,
				width,
				marginTop: 34 * scale,
				borderRadius: 5 * scale,
				background: color,
				transform: `scaleX(${easeProgress(frame, startFrame, fps * 0.5)})`,
				transformOrigin: isCentered ? 'center' : 'left',
			}}
		/>
	);
};
