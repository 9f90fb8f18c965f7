"""Card with the subject of a brief that has no scene."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sandbox.painting import Field, Painter, Picture, Stage, blur, color, mix, ramp

#: Largest size of the letters, as a part of the height.
TYPE_SIZE = 1 / 11


def paint_card(stage: Stage, subject: str = "") -> Painter:
    """Paint folds of coloured light with the subject set in type over them."""
    place = stage.place
    inks = (
        ("141024", "3a2a6a", "d8607a", "ffc890"),
        ("07161c", "0f4a5a", "4fb0a0", "f2e2b0"),
        ("160c10", "6a1f3a", "e07a4a", "ffe0a8"),
    )
    ink = inks[int(place.integers(len(inks)))]
    zoom = stage.pick(1.0, 0.75, 0.55)
    x, y, turn = stage.x * np.float32(zoom), stage.y * np.float32(zoom), [float(v) for v in place.uniform(0, 6.28, 4)]
    letters, light = _set_type(stage, subject), color(ink[3])
    vignette = stage.glow(0, -0.1, 1.25, 0.9)

    def paint(t: float) -> Picture:
        across = x + 0.32 * np.sin(1.3 * y + 0.31 * t + turn[0]) + 0.14 * np.sin(2.9 * y - 0.23 * t + turn[1])
        fold = np.sin(2.6 * across + 0.8 * y + 0.25 * np.sin(2.2 * x - 0.4 * t + turn[2]) + 0.12 * t + turn[3])
        crease = 0.5 + 0.5 * np.sin(5.2 * across - 1.1 * y + turn[1] - 0.2 * t)
        canvas = ramp((0.10 + 0.34 * (1 + fold) * (0.55 + 0.45 * crease)) * vignette, *ink) + crease**8 * 0.10 * light
        if letters is not None:
            canvas = mix(canvas * (1 - 0.45 * letters[1]), color("fff8ee"), letters[0] * 0.96)
        return np.asarray(canvas)

    return paint


def _set_type(stage: Stage, subject: str) -> tuple[Field, Field] | None:
    """Return the masks of the letters and of their shadow, or None if there is nothing to set."""
    if not subject:
        return None
    sheet = Image.new("L", (stage.width, stage.height), 0)
    draw, words = ImageDraw.Draw(sheet), subject.split()
    size = stage.height * TYPE_SIZE
    widest = max(draw.textlength(word, font=ImageFont.load_default(100)) for word in words) / 100
    size = min(size, 0.68 * stage.width / widest)
    font = ImageFont.load_default(size)
    y = stage.sharp(0, -0.18)[1] - 0.5 * len(words) * 1.12 * size
    for word in words:
        draw.text(((stage.width - draw.textlength(word, font=font)) / 2, y), word, 255, font)
        y += 1.12 * size
    middle, y = stage.width / 2, y + size * 0.45
    draw.line((middle - size * 0.5, y, middle + size * 0.5, y), 200, max(1, round(size / 24)))
    letters = np.asarray(sheet, np.float32) / 255
    return letters, np.clip(2.2 * blur(letters, size / 5), 0, 1)
