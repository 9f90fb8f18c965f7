import type {FC} from 'react';
import {AbsoluteFill, interpolate, useCurrentFrame, useVideoConfig} from 'remotion';
import {easeProgress, outlinedTextStyle} from './AnimatedText.tsx';
import {ClipSequence} from './ClipSequence.tsx';
import type {CompositionOptions, FilmProps} from './manifest.ts';
import {safeZone} from './safe-zone.ts';
import {buildTimeline, type ClipSpan, textOpacity} from './timeline.ts';
import {fitText, FONT_FAMILY, MIN_FONT_SIZE} from './typography.ts';

/** Calm clips that dissolve into each other, with a "Sign — Object" text that fades with the dissolve. */
export const Aismr: FC<FilmProps> = ({manifest, options}) => (
	<ClipSequence
		manifest={manifest}
		spans={buildTimeline(manifest)}
		entranceStyle={(share) => ({opacity: share})}
		renderOverlay={(span, index) => (
			<>
				<Overlay text={manifest.clips[index]!.overlay} span={span} options={options} />
				{index === 0 && options.title ? <Title options={options} span={span} /> : null}
			</>
		)}
	/>
);

/** The sign in large letters, a thin rule, and the object below; a text without a dash, or one too long for that, in its lines. */
const Overlay: FC<{text: string; span: ClipSpan; options: CompositionOptions}> = ({text, span, options}) => {
	const frame = useCurrentFrame();
	const {width, height, fps} = useVideoConfig();
	const opacity = textOpacity(span, frame);
	if (!text.trim() || opacity <= 0) {
		return null;
	}
	const {zoneWidth, left, right, bottom, scale} = safeZone(width, height);
	const [sign = '', ...remainder] = text.split(/\s+[—–-]\s+/);
	const object = remainder.join(' — ');
	const maxWidth = zoneWidth - 28 * scale;
	const maxFontSize = Math.round(86 * scale);
	const spacedSign = fitText(sign.toUpperCase(), {maxWidth, maxFontSize, maxLines: 1, letterSpacing: 0.06});
	const fittedObject = fitText(object, {maxWidth, maxFontSize: Math.round(MIN_FONT_SIZE * scale), maxLines: 2});
	const isSplit = object !== '' && Math.min(spacedSign.fontSize, fittedObject.fontSize) >= Math.round(MIN_FONT_SIZE * scale);
	const signText = isSplit ? spacedSign : fitText(text, {maxWidth, maxFontSize, maxLines: 2});
	const objectText = isSplit ? fittedObject : null;
	// The text grows slowly to its full size as it fades in, so it never exceeds the width that it was fitted to.
	const textScale = interpolate(opacity, [0, 1], [0.94, 1]);
	const ruleProgress = easeProgress(frame, span.fadeIn / 2, fps * 1.2);
	return (
		<div
			style={{
				position: 'absolute',
				left,
				right,
				bottom: bottom + 18 * scale,
				opacity,
				transform: `scale(${textScale})`,
				transformOrigin: '50% 100%',
				textAlign: 'center',
			}}
		>
			<div
				style={{
					...outlinedTextStyle(signText.fontSize),
					lineHeight: 1.14,
					letterSpacing: isSplit ? '0.06em' : 0,
					marginRight: isSplit ? '-0.06em' : 0,
				}}
			>
				{signText.lines.map((words, row) => (
					<div key={row} dir="auto">
						{words.join(' ')}
					</div>
				))}
			</div>
			{objectText ? (
				<>
					<div
						style={{
							width: 150 * scale,
							height: 5 * scale,
							margin: `${12 * scale}px auto ${10 * scale}px`,
							background: options.accent,
							boxShadow: '0 0 6px rgba(0,0,0,.45)',
							transform: `scaleX(${ruleProgress})`,
						}}
					/>
					<div style={{...outlinedTextStyle(objectText.fontSize), lineHeight: 1.16}}>
						{objectText.lines.map((words, row) => (
							<div key={row} dir="auto">
								{words.join(' ')}
							</div>
						))}
					</div>
				</>
			) : null}
		</div>
	);
};

/** The title in small, spaced letters at the top of the safe zone, during the first clip. */
const Title: FC<{options: CompositionOptions; span: ClipSpan}> = ({options, span}) => {
	const frame = useCurrentFrame();
	const {width, height, fps} = useVideoConfig();
	const {top, left, right, zoneWidth, scale} = safeZone(width, height);
	const frames = Math.min(3 * fps, span.end - span.start - span.fadeOut);
	const opacity = Math.min(easeProgress(frame, fps * 0.2, fps * 0.8), 1 - easeProgress(frame, frames - fps * 0.6, fps * 0.6));
	if (opacity <= 0) {
		return null;
	}
	const text = fitText(options.title.toUpperCase(), {
		maxWidth: zoneWidth - 28 * scale,
		maxFontSize: Math.round(44 * scale),
		maxLines: 2,
		letterSpacing: 0.2,
	});
	return (
		<AbsoluteFill style={{opacity}}>
			<div
				style={{
					position: 'absolute',
					top: top + 20 * scale,
					left,
					right,
					textAlign: 'center',
					...outlinedTextStyle(text.fontSize),
					WebkitTextStroke: '0',
					fontFamily: `"${FONT_FAMILY}"`,
					letterSpacing: '0.2em',
					lineHeight: 1.3,
				}}
			>
				{text.lines.map((line, row) => (
					<div key={row} style={{marginRight: '-0.2em'}}>
						{line.join(' ')}
					</div>
				))}
			</div>
		</AbsoluteFill>
	);
};
