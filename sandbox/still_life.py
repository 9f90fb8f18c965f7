"""Still lifes: an object in soft light on a table, with steam if it is hot; and the card of a subject."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sandbox.painting import Field, Painter, Picture, add_light, blur, color, mix, ramp, smooth
from sandbox.stage import Motes, Stage, Texture

#: Height of an opening, seen from above, as a part of its width.
TILT = 0.24
#: Largest size of the letters of a card, as a part of the height.
TYPE_SIZE = 1 / 11


@dataclass(frozen=True)
class Form:
    """Object of revolution: its height, and its radii from top to bottom, in halves of the height of the picture.

    `edge` over 2 makes it angular, `filled` is the height of what it contains, glass shows what is behind it,
    `body` is its own colour where the tint is that of the content, `content` that of its content where the tint is
    its own, `rough` the grain of a surface without glaze, and `extra` what else it has. A stripe has a colour, and is
    where `across * x + down * y` is within `wide` of `middle`, down to `lowest`; its y is 0 at the foot, -1 at the top.
    """

    height: float
    radii: tuple[float, ...]
    edge: float = 2.0
    filled: float = 0.0
    body: str = ""
    content: str = ""
    rough: float = 0.0
    is_glass: bool = False
    is_closed: bool = False
    is_hot: bool = False
    extra: str = ""
    stripes: tuple[tuple[str, float, float, float, float, float], ...] = ()


def paint_object(stage: Stage, form: Form, tint: str, *wall: Picture) -> Painter:
    """Paint an object on a table in the light of a window; `tint` is its colour or that of its content."""
    zoom = stage.pick(0.95, 1.4, 2.1) * min(1.0, 0.45 + stage.aspect)
    foot = stage.pick(0.40, 0.52, 0.42) + stage.pick(0, 0, 0.62) * form.height
    x, y, width = stage.x / np.float32(zoom), (stage.y - foot) / np.float32(zoom), max(form.radii)
    back = _paint_room(stage, x, y, wall, foot)
    tint = tint or str(stage.place.choice(("e8dccb", "b8462f", "3f6f7a", "d9a441", "7a8a5a")))
    plate, mask = _paint_form(stage, form, x, y, back, color(tint))
    base = round(stage.pixel(0, foot + 0.3 * TILT * form.radii[-1] * zoom)[1])
    rows = np.clip(2 * base - np.arange(stage.height), 0, stage.height - 1)
    mirrored, covered = blur(plate[:, rows] * mask[rows], 3.0), blur(mask[rows], 3.0)
    shadow = np.exp(-(((x - 0.55 * width) / (1.5 * width)) ** 2) - ((y - 0.02) / 0.09) ** 2) * 0.62
    contact = np.exp(-((x / (form.radii[-1] * 1.1)) ** 4) - ((y - 0.02) / 0.035) ** 2) * 0.6
    canvas = back * (1 - np.maximum(shadow, contact))
    canvas = canvas + (mirrored - canvas * covered) * smooth(0.0, 0.02, y) * smooth(0.7, 0.0, y) * 0.34
    canvas = mix(canvas, plate, mask).astype(np.float32)
    light, dust = stage.glow(-0.7 * stage.aspect, -0.75, 1.1, 0.9) * canvas, Motes(stage, 18, 1.4, -0.012, 0.03)
    steam = _raise_steam(stage, x, np.clip(-form.height * 0.9 - y, 0, None), width) if form.is_hot else None

    def paint(t: float) -> Picture:
        picture: Picture = canvas + light * np.float32(0.10 + 0.05 * math.sin(0.8 * t))
        if steam:
            picture += steam(t) * color("fff2e2") * 0.42
        dust.draw(picture, t, color("ffe8c8") * 0.20)
        return picture

    return paint


def _paint_room(stage: Stage, x: Field, y: Field, wall: tuple[Picture, ...], foot: float) -> Picture:
    """Return the wall with the light of a window, and the table."""
    place, scale = stage.place, stage.unit
    light = stage.glow(-0.5 * stage.aspect, foot - 0.75, 0.85, 1.1)
    back = ramp(0.10 + 0.95 * light + 0.06 * Texture(place, power=2).view(stage, 0.9), color("0b0a0a"), *wall)
    for _ in range(9):
        at = stage.pixel(place.uniform(-1.1, 1.1) * stage.aspect, foot - place.uniform(0.35, 1.3))
        glow = color("ffd9a0") * np.float32(place.uniform(0.03, 0.10))
        add_light(back, *at, place.uniform(26, 60) * scale * stage.pick(0.8, 1.1, 1.5), glow, is_disc=True)
    back, grain = blur(back, 4 * scale), Texture(place, power=1.3, stretch=16, coarse=6).view(stage, 0.9, step=1)
    wood = color(str(place.choice(("5a3c28", "3a2a22", "8a6a4a", "6e6660"))))
    table = wood * (0.55 + 0.75 * light + 0.25 * smooth(-0.10, 0.9, y)) * (0.75 + 0.5 * grain)
    table = table + stage.glow(-0.35 * stage.aspect, foot + 0.12, 0.42, 1.5) * color("ffe0b8") * 0.16
    return mix(back, table, smooth(-0.135, -0.095, y + 0.012 * np.abs(x)))


def _paint_form(stage: Stage, form: Form, x: Field, y: Field, back: Picture, tint: Picture) -> tuple[Picture, Field]:
    """Return the shaded object and its mask."""
    pixel, clay = x[0, 1] - x[0, 0], color(form.body) if form.body else tint
    fine = np.linspace(-form.height, 0, 80)
    radii = np.interp(fine, np.linspace(-form.height, 0, len(form.radii)), form.radii)
    radii = np.convolve(np.pad(radii, 6, mode="edge"), np.hanning(15)[1:-1] / 7, "valid")

    half = np.interp(y, fine, radii).astype(np.float32)
    bulge = np.clip(1 - np.abs(x / half) ** form.edge, 0, 1) ** np.float32(1 / form.edge)
    up = y - np.float32(TILT * 0.55) * half * bulge
    half = np.interp(up, fine, radii).astype(np.float32)
    slope = np.interp(up, fine, np.gradient(radii, fine)).astype(np.float32)
    nx = np.clip(x / half, -1, 1)
    nz = np.clip(1 - np.abs(nx) ** form.edge, 0, 1) ** np.float32(1 / form.edge)
    lambert = np.clip((-0.62 * nx + 0.66 * nz + 0.42 * slope) / np.sqrt(nx**2 + nz**2 + slope**2), 0, 1)
    inside = np.clip((half - np.abs(x)) / pixel + 0.5, 0, 1) * np.clip((up + form.height) / pixel + 0.5, 0, 1)
    mask = inside * np.clip(-up / pixel + 0.5, 0, 1)

    grain = Texture(stage.place, power=1.0, coarse=14).view(stage, 0.6, step=1) - 0.5
    body, high = clay * (0.13 + 0.95 * lambert) * (1 + 0.45 * form.rough * grain), up / form.height
    if form.is_glass:
        body = _fill_glass(form, back, nx, up, tint * (0.42 + 0.62 * lambert))
    for code, across, down, middle, wide, lowest in form.stripes:
        stripe = smooth(wide, 0.75 * wide, np.abs(across * x + down * high - middle)) * 0.85
        body = mix(body, color(code) * (0.13 + 0.95 * lambert), stripe * smooth(lowest, lowest - 0.2, high))
    # The window is a stripe on a glaze, and a spot on a surface that is closed.
    window = np.exp(-(((nx + 0.52) / 0.10) ** 2)) * smooth(0.0, 0.10, up + form.height) * smooth(-0.02, -0.14, up)
    if form.is_closed:
        window = np.exp(-(((nx + 0.42) / 0.30) ** 2) - ((high + 0.70) / 0.16) ** 2)
    plate = body + np.clip(nx, 0, 1) ** 7 * 0.30 * color("ffd9b0") + window * 0.34 * (1 - form.rough) * color("fff6ea")
    top = y + np.float32(form.height)
    content = color(form.content) if form.content else tint
    plate, mouth = _paint_top(form, x, top, back, plate, clay, content)
    mask = np.maximum(mask, mouth)
    if form.extra == "handle":
        ring = np.abs(np.hypot(x - 0.275, (y + 0.215) * 0.95) - 0.105)
        handle = smooth(0.030, 0.024, ring) * (x > 0.20) * (1 - mask)
        plate, mask = mix(plate, clay * (0.28 + 0.55 * smooth(0.03, 0.0, ring)), handle), np.maximum(mask, handle)
    elif form.extra == "stem":
        stem = smooth(0.014, 0.008, np.abs(x - 1.6 * (top - 0.04) ** 2)) * smooth(-0.085, -0.080, top) * (top < 0.04)
        plate, mask = mix(plate, color("4a3420") * (0.8 - 14 * np.clip(x, 0, 0.03)), stem), np.maximum(mask, stem)
    return plate, mask


def _paint_top(
    form: Form, x: Field, top: Field, back: Picture, body: Picture, clay: Picture, content: Picture
) -> tuple[Picture, Field]:
    """Return the object with its top or its opening, in which one sees what it contains, and the mask of that."""
    wide = np.float32(form.radii[0])
    oval = np.sqrt((np.abs(x) / wide) ** form.edge + (top / (TILT * 0.55 * wide)) ** 2)
    mouth, across = np.clip((1 - oval) * 0.3 * wide / (x[0, 1] - x[0, 0]) + 0.5, 0, 1), np.clip(0.5 + x / wide, 0, 1)
    if form.is_closed:
        mouth = mouth * (wide > 0.05)
        return mix(body, clay * (0.85 - 0.45 * across), mouth * smooth(1.0, 0.4, oval)), mouth
    inner = back * (0.80 + 0.15 * across) if form.is_glass else clay * (0.30 + 0.45 * across)
    if form.filled:
        drop = top - np.float32((1 - form.filled) * form.height)
        level = (np.abs(x) / (wide * 0.93)) ** form.edge + (drop / (TILT * 0.5 * wide)) ** 2
        sheen = np.exp(-(((x + 0.35 * wide) / (0.30 * wide)) ** 2) - (drop / (0.06 * wide)) ** 2) * 0.2
        filling = back * 0.8 if form.is_glass else content * (0.95 - 0.25 * across)
        inner = mix(inner, filling + sheen, smooth(1.05, 0.95, level))
    lip = np.exp(-(((oval - 1) / 0.035) ** 2)) * (0.35 + 0.45 * smooth(wide, -wide, x))
    return mix(body, inner, mouth) + lip * (0.5 if form.is_glass else 0.28), mouth


def _fill_glass(form: Form, back: Picture, nx: Field, up: Field, liquid: Picture) -> Picture:
    """Return clear glass over the picture behind it, with a liquid."""
    level, edge, bottom = -form.height * form.filled, np.abs(nx) ** 6, smooth(-0.055, -0.035, up)
    clear = back * (0.82 - 0.35 * edge) + edge * 0.16 * color("e8f0f4")
    wet = smooth(level - 0.004, level + 0.004, up) * (1 - bottom) * (1 - smooth(0.90, 0.99, np.abs(nx)))
    filled = mix(clear, liquid * (0.9 + 0.2 * smooth(-form.height, 0, up)) + 0.10 * back, wet)
    return np.asarray(filled + bottom * edge * 0.08 + np.exp(-(((up - level) / 0.007) ** 2)) * 0.16)


def _raise_steam(stage: Stage, x: Field, rise: Field, width: float) -> Callable[[float], Field]:
    """Return what gives the density of steam at a time; `rise` is the height above the place where it starts."""
    fade, wide = smooth(0.0, 0.10, rise) * smooth(1.5, 0.25, rise), np.float32(width) * (0.34 + 0.75 * rise)
    first, second = (Texture(stage.rng, power=1.9, stretch=0.45, coarse=3) for _ in range(2))

    def view(t: float) -> Field:
        sway = 0.07 * rise * np.sin(2.4 * rise - 0.9 * t)
        wisps = first.view(stage, 0.62, 0.03 * t, 0.13 * t, step=3)
        wisps = wisps + second.view(stage, 0.42, -0.02 * t, 0.19 * t, step=3)
        return np.asarray(np.exp(-(((x - sway) / wide) ** 2)) * fade * smooth(0.72, 1.5, wisps))

    return view


def paint_card(stage: Stage, subject: str, *inks: Picture) -> Painter:
    """Paint folds of coloured light with the subject set in type over them; each framing is lit from another side."""
    turn, zoom = [float(value) for value in stage.place.uniform(0, 6.28, 4)], np.float32(stage.pick(1.0, 0.75, 0.55))
    light = stage.glow(stage.pick(0, 0.3, -0.3), stage.pick(-0.1, 0.5, -0.6), 1.25, 0.9)
    angle = stage.pick(0, 1.1, -0.8)
    x = zoom * (stage.x * math.cos(angle) - stage.y * math.sin(angle))
    y = zoom * (stage.x * math.sin(angle) + stage.y * math.cos(angle))
    letters = _set_type(stage, subject)
    shadow = 1 - 0.45 * np.clip(2.2 * blur(letters, 12 * stage.unit), 0, 1)
    below, text = shadow * (1 - letters), letters * 0.96 * color("fff8ee")

    def paint(t: float) -> Picture:
        across = x + np.float32(0.32) * np.sin(1.3 * y + 0.31 * t + turn[0])
        across = across + np.float32(0.14) * np.sin(2.9 * y - 0.23 * t + turn[1])
        fold = np.sin(2.6 * across + 0.8 * y + 0.25 * np.sin(2.2 * x - 0.4 * t + turn[2]) + 0.12 * t + turn[3])
        crease = 0.5 + 0.5 * np.sin(5.2 * across - 1.1 * y + turn[1] - 0.2 * t)
        return np.asarray(ramp((0.10 + 0.34 * (1 + fold) * (0.55 + 0.45 * crease)) * light, *inks) * below + text)

    return paint


def _set_type(stage: Stage, subject: str) -> Field:
    """Return the mask of the letters, one word a line.

    All words are alike in a wide shot. In a close one the last is large, at the left, and in a detail the first,
    at the right; all of them above the captions.
    """
    sheet, words = Image.new("L", (stage.width, stage.height), 0), subject.split()
    large, side, middle = ((-1, 0, -0.5), (len(words) - 1, -1, -0.42), (0, 1, -0.5))[stage.shot.framing]
    draw, left, sizes = ImageDraw.Draw(sheet), stage.pixel(0.68 * side * stage.aspect, middle), []
    for number, word in enumerate(words):
        size = stage.height * TYPE_SIZE * (1 if large < 0 else 2 if number == large else 0.5)
        sizes.append(min(size, 0.58 * stage.width / draw.textlength(word, font=ImageFont.load_default(100)) * 100))
    if large < 0:
        sizes = [min(sizes, default=0)] * len(sizes)
    for number, word in enumerate(words):
        y = left[1] + 1.12 * (sum(sizes[:number]) - sum(sizes) / 2)
        draw.text((left[0], y), word, 255, ImageFont.load_default(sizes[number]), anchor="lmr"[side + 1] + "a")
    return np.asarray(sheet, np.float32) / 255
