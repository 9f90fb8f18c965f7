/** The content of a film. Data only, validated before it gets here. */
export type Clip = {digest: string; seconds: number; overlay: string};

export type Manifest = {
	version: number;
	width: number;
	height: number;
	fps: number;
	crossfade_seconds: number;
	loudness_lufs: number;
	clips: Clip[];
};

/** The input props of every composition. */
export type FilmProps = {
	manifest: Manifest;
	options: CompositionOptions;
};

/** The texts and the colour around the clips. A composition uses those that its schema lists. */
export type CompositionOptions = {
	title: string;
	kicker: string;
	end: string;
	accent: string;
};

export const DEFAULT_OPTIONS: CompositionOptions = {title: '', kicker: '', end: '', accent: '#ffd166'};
