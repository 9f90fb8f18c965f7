/** What a film is made from: data only, checked before it comes here. */
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

/** What a composition is handed: the manifest, and what its look asks for beside it. */
export type FilmProps = {
	manifest: Manifest;
	look: Look;
};

/** The words and the colour around the clips. Every composition takes the ones its schema names. */
export type Look = {
	title: string;
	kicker: string;
	end: string;
	accent: string;
};

export const PLAIN_LOOK: Look = {title: '', kicker: '', end: '', accent: '#ffd166'};
