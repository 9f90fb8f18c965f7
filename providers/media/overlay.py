"""Draw a caption overlay: white text with a dark outline, inside the area that no platform covers."""

from math import ceil
from typing import NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from providers.media.glyphs import FONT_PATH, load_font, strip_missing_glyphs
from providers.media.text_layout import TextLayout, fit_lines, fit_start

# Lengths are pixels of a frame 1080 wide; the margins of the safe zone are pixels of a 1080x1920 frame.
WIDTH_PX = 1080
SAFE_SIDE_PX, SAFE_TOP_PX, SAFE_BOTTOM_PX = 192, 288, 672
SHADOW_PX = 14
OUTLINE_RATIO = 0.085  # of the font size


class Overlay(NamedTuple):
    """A caption: its left upper corner in a frame (even pixels), its opacity (0..255) and its picture (yuv420p)."""

    left: int
    top: int
    alpha: NDArray[np.uint8]
    picture: VideoFrame


def draw_overlay(text: str, width: int, height: int) -> Overlay | None:
    """Return as much of the text as can be drawn, for a frame of this size in pixels; None if that is nothing."""
    layout = fit_lines(fit_start(strip_missing_glyphs(text)))
    if layout is None:
        return None
    left, top = 2 * ceil(SAFE_SIDE_PX * width / WIDTH_PX / 2), 2 * ceil(SAFE_TOP_PX * height / 1920 / 2)
    size = (width - 2 * left, height - top - 2 * ceil(SAFE_BOTTOM_PX * height / 1920 / 2))
    large = _draw_text(layout, (WIDTH_PX - 2 * SAFE_SIDE_PX) * size[1] // size[0])
    letters, opacity = (image.resize(size, Image.Resampling.BOX) for image in large)
    x0, y0, x1, y1 = opacity.getbbox() or (0, 0, 2, 2)
    box = (x0 & ~1, y0 & ~1, (x1 + 1) & ~1, (y1 + 1) & ~1)
    colours = Image.new("RGB", size)
    colours.paste(letters, mask=letters)
    picture = VideoFrame.from_ndarray(np.asarray(colours.crop(box)), format="rgb24")
    picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
    return Overlay(left + box[0], top + box[1], np.asarray(opacity.crop(box)), picture)


def _draw_text(layout: TextLayout, height: int) -> tuple[Image.Image, Image.Image]:
    """Return the letters in their colours, and these with an outline and a shadow as a mask, for the safe zone."""
    size, outline = layout.size, round(layout.size * OUTLINE_RATIO)
    letters = Image.new("RGBA", (WIDTH_PX - 2 * SAFE_SIDE_PX, height), (255, 255, 255, 0))
    dark = Image.new("L", letters.size)
    is_high = any(run.font != FONT_PATH for line in layout.lines for run in line)  # marks above and below the letters
    y = height - SHADOW_PX - outline - round((0.45 if is_high else 0.28) * size)
    for line in reversed(layout.lines):
        x = (letters.width - sum(run.width(size) for run in line)) / 2
        for run in line:
            font, direction = load_font(run.font, size, is_rtl=run.is_rtl), "rtl" if run.is_rtl else None
            if font.size == size:
                pen = ImageDraw.Draw(letters)
                pen.text((x, y), run.text, "white", font, "ls", direction=direction, embedded_color=True)
                pen = ImageDraw.Draw(dark)
                pen.text((x, y), run.text, 255, font, "ls", direction=direction, stroke_width=outline)
            else:
                picture = Image.new("RGBA", (round(font.getlength(run.text)), round(2 * font.size)))
                ImageDraw.Draw(picture).text((0, picture.height), run.text, None, font, "ld", embedded_color=True)
                picture = picture.resize((round(run.width(size)), 2 * size))
                letters.alpha_composite(picture, (round(x), round(y - 1.75 * size)))
            x += run.width(size)
        y -= round((1.5 if is_high else 1.22) * size)
    dark = ImageChops.lighter(dark, letters.getchannel("A"))
    shadow = dark.filter(ImageFilter.GaussianBlur(SHADOW_PX / 2.5)).point(lambda value: round(0.55 * value))
    return letters, ImageChops.screen(dark, shadow)
