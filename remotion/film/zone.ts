/** What every platform leaves free, in pixels of a film 1080 wide and 1920 high. */
export const SIDE = 192;
export const TOP = 288;
export const BOTTOM = 672;

/** The free rectangle of a film of this size. Shadows lie inside it, too. */
export const zone = (width: number, height: number) => ({
	left: Math.round((SIDE * width) / 1080),
	right: Math.round((SIDE * width) / 1080),
	top: Math.round((TOP * height) / 1920),
	bottom: Math.round((BOTTOM * height) / 1920),
	room: width - 2 * Math.round((SIDE * width) / 1080),
	unit: width / 1080,
});
