import {Video} from '@remotion/media';
import type {CSSProperties, FC, ReactNode} from 'react';
import {AbsoluteFill, Sequence, staticFile, useCurrentFrame} from 'remotion';
import type {Manifest} from './manifest.ts';
import {type Cut, share} from './timeline.ts';

/** How a clip comes over the one before: its style when `shown` 0..1 of it is there. */
export type Coming = (shown: number) => CSSProperties;

/** All clips in their order, each coming over the one before; `over` lays something on a clip's own frames. */
export const Clips: FC<{
	manifest: Manifest;
	cuts: Cut[];
	coming: Coming;
	over: (cut: Cut, number: number) => ReactNode;
}> = ({manifest, cuts, coming, over}) => (
	<AbsoluteFill style={{backgroundColor: 'black'}}>
		{cuts.map((cut, number) => (
			<Sequence key={number} from={cut.first} durationInFrames={cut.end - cut.first} layout="none">
				<Picture cut={cut} number={number} coming={coming} />
			</Sequence>
		))}
		<Shade />
		{cuts.map((cut, number) => (
			<Sequence key={number} from={cut.first} durationInFrames={cut.end - cut.first} layout="none">
				{manifest.clips[number] ? over(cut, number) : null}
			</Sequence>
		))}
	</AbsoluteFill>
);

const Picture: FC<{cut: Cut; number: number; coming: Coming}> = ({cut, number, coming}) => {
	const frame = useCurrentFrame();
	return (
		<AbsoluteFill style={coming(share(cut, frame))}>
			<Video
				src={staticFile(`clips/${number + 1}.mp4`)}
				volume={(at) => loudness(cut, at)}
				objectFit="cover"
				style={{width: '100%', height: '100%'}}
				disallowFallbackToOffthreadVideo
			/>
		</AbsoluteFill>
	);
};

/** Two clips fade at even power. */
const loudness = (cut: Cut, frame: number): number => {
	const coming = cut.fadeIn ? Math.min(1, Math.max(0, frame / cut.fadeIn)) : 1;
	const going = cut.fadeOut ? Math.min(1, Math.max(0, (cut.end - cut.first - frame) / cut.fadeOut)) : 1;
	return Math.sin((coming * Math.PI) / 2) * Math.sin((going * Math.PI) / 2);
};

/** A little dark behind where text stands. */
const Shade: FC = () => (
	<AbsoluteFill
		style={{
			background:
				'linear-gradient(180deg, rgba(6,8,14,.34) 0%, rgba(6,8,14,0) 26%, rgba(6,8,14,0) 44%, rgba(6,8,14,.42) 64%, rgba(6,8,14,.30) 100%)',
		}}
	/>
);
