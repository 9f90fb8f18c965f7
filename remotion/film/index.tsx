import type {FC} from 'react';
import {Composition, registerRoot} from 'remotion';
import {Aismr} from './Aismr.tsx';
import {type FilmProps, PLAIN_LOOK} from './manifest.ts';
import {Shorts} from './Shorts.tsx';
import {framesOf} from './timeline.ts';

const EMPTY: FilmProps = {
	manifest: {
		version: 1,
		width: 1080,
		height: 1920,
		fps: 30,
		crossfade_seconds: 0,
		loudness_lufs: -14,
		clips: [{digest: '', seconds: 3, overlay: ''}],
	},
	look: PLAIN_LOOK,
};

/** Another look is another entry here, with its schema in `src/schema.ts`. */
const LOOKS: Record<string, FC<FilmProps>> = {shorts: Shorts, aismr: Aismr};

const Root: FC = () => (
	<>
		{Object.entries(LOOKS).map(([id, look]) => (
			<Composition
				key={id}
				id={id}
				component={look}
				defaultProps={EMPTY}
				width={1080}
				height={1920}
				fps={30}
				durationInFrames={1}
				calculateMetadata={({props: {manifest}}) => ({
					width: manifest.width,
					height: manifest.height,
					fps: manifest.fps,
					durationInFrames: framesOf(manifest),
				})}
			/>
		))}
	</>
);

registerRoot(Root);
