import type {FC} from 'react';
import {Composition, registerRoot} from 'remotion';
import {Aismr} from './Aismr.tsx';
import {DEFAULT_OPTIONS, type FilmProps} from './manifest.ts';
import {Shorts} from './Shorts.tsx';
import {countFrames} from './timeline.ts';

const DEFAULT_PROPS: FilmProps = {
	manifest: {
		version: 1,
		width: 1080,
		height: 1920,
		fps: 30,
		crossfade_seconds: 0,
		loudness_lufs: -14,
		clips: [{digest: '', seconds: 3, overlay: ''}],
	},
	options: DEFAULT_OPTIONS,
};

/** A new composition is a new entry here, with its schema in `src/schema.ts`. */
const COMPOSITIONS: Record<string, FC<FilmProps>> = {shorts: Shorts, aismr: Aismr};

const Root: FC = () => (
	<>
		{Object.entries(COMPOSITIONS).map(([id, component]) => (
			<Composition
				key={id}
				id={id}
				component={component}
				defaultProps={DEFAULT_PROPS}
				width={1080}
				height={1920}
				fps={30}
				durationInFrames={1}
				calculateMetadata={({props: {manifest}}) => ({
					width: manifest.width,
					height: manifest.height,
					fps: manifest.fps,
					durationInFrames: countFrames(manifest),
				})}
			/>
		))}
	</>
);

registerRoot(Root);
