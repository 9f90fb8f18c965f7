import {Video} from '@remotion/media';
import type {CSSProperties, FC, ReactNode} from 'react';
import {AbsoluteFill, Sequence, staticFile, useCurrentFrame} from 'remotion';
import type {Manifest} from './manifest.ts';
import {type ClipSpan, clipOpacity} from './timeline.ts';

/** The style of a clip that replaces the previous one, at a share of 0..1 of the picture. */
type EntranceStyle = (share: number) => CSSProperties;

/** All clips in order, each entering over the previous one. `renderOverlay` draws on the frames of one clip. */
export const ClipSequence: FC<{
	manifest: Manifest;
	spans: ClipSpan[];
	entranceStyle: EntranceStyle;
	renderOverlay: (span: ClipSpan, index: number) => ReactNode;
}> = ({manifest, spans, entranceStyle, renderOverlay}) => (
	<AbsoluteFill style={{backgroundColor: 'black'}}>
		{spans.map((span, index) => (
			<Sequence key={index} from={span.start} durationInFrames={span.end - span.start} layout="none">
				<ClipVideo span={span} index={index} entranceStyle={entranceStyle} />
			</Sequence>
		))}
		<TextScrim />
		{spans.map((span, index) => (
			<Sequence key={index} from={span.start} durationInFrames={span.end - span.start} layout="none">
				{manifest.clips[index] ? renderOverlay(span, index) : null}
			</Sequence>
		))}
	</AbsoluteFill>
);

const ClipVideo: FC<{span: ClipSpan; index: number; entranceStyle: EntranceStyle}> = ({span, index, entranceStyle}) => {
	const frame = useCurrentFrame();
	return (
		<AbsoluteFill style={entranceStyle(clipOpacity(span, frame))}>
			<Video
				src={staticFile(`clips/${index + 1}.mp4`)}
				volume={(at) => clipVolume(span, at)}
				objectFit="cover"
				style={{width: '100%', height: '100%'}}
				disallowFallbackToOffthreadVideo
			/>
		</AbsoluteFill>
	);
};

/** Return the volume of the clip, 0..1, for equal-power crossfades. */
const clipVolume = (span: ClipSpan, frame: number): number => {
	const fadeIn = span.fadeIn ? Math.min(1, Math.max(0, frame / span.fadeIn)) : 1;
	const fadeOut = span.fadeOut ? Math.min(1, Math.max(0, (span.end - span.start - frame) / span.fadeOut)) : 1;
	return Math.sin((fadeIn * Math.PI) / 2) * Math.sin((fadeOut * Math.PI) / 2);
};

/** A slight darkening behind the text areas. */
const TextScrim: FC = () => (
	<AbsoluteFill
		style={{
			background:
				'linear-gradient(180deg, rgba(6,8,14,.34) 0%, rgba(6,8,14,0) 26%, rgba(6,8,14,0) 44%, rgba(6,8,14,.42) 64%, rgba(6,8,14,.30) 100%)',
		}}
	/>
);
