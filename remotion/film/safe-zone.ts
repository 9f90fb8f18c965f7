/** The margins that platforms cover with their own interface, in pixels of a film 1080 wide and 1920 high. */
const SIDE_MARGIN = 192;
const TOP_MARGIN = 288;
const BOTTOM_MARGIN = 672;

/** Return the margins of the safe zone, its width, and the scale against a film 1080 wide. Shadows stay inside it, too. */
export const safeZone = (filmWidth: number, filmHeight: number) => {
	const side = Math.round((SIDE_MARGIN * filmWidth) / 1080);
	return {
		left: side,
		right: side,
		top: Math.round((TOP_MARGIN * filmHeight) / 1920),
		bottom: Math.round((BOTTOM_MARGIN * filmHeight) / 1920),
		zoneWidth: filmWidth - 2 * side,
		scale: filmWidth / 1080,
	};
};
