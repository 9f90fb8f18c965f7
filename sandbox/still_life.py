"""Still lifes: an object in soft light on a table, with steam if it is hot."""

import math
from dataclasses import dataclass

import numpy as np

from sandbox.painting import (
    Field,
    Motes,
    Painter,
    Picture,
    Stage,
    Texture,
    add_light,
    blur,
    color,
    mix,
    ramp,
    smooth,
)

#: Height of the opening of an object, seen from above, as a part of its width.
TILT = 0.24


@dataclass(frozen=True)
class Form:
    """Object of revolution: height and radii from top to bottom, in halves of the height of the picture.

    `edge` over 2 makes it angular, `filled` is the height of what it contains, `glass` shows what is behind it.
    """

    height: float
    radii: tuple[float, ...]
    edge: float = 2.0
    filled: float = 0.0
    is_glass: bool = False


FORMS = {
    "cup": Form(0.40, (0.27, 0.268, 0.26, 0.245, 0.215, 0.165, 0.13), filled=0.86),
    "glass": Form(0.66, (0.205, 0.20, 0.195, 0.19, 0.185, 0.18, 0.172, 0.16), filled=0.80, is_glass=True),
    "bowl": Form(0.30, (0.36, 0.355, 0.34, 0.31, 0.26, 0.19, 0.15), filled=0.88),
    "bottle": Form(
        1.02,
        (0.062, 0.066, 0.06, 0.062, 0.085, 0.155, 0.185, 0.19, 0.19, 0.19, 0.19, 0.19, 0.182),
        is_glass=True,
        filled=0.62,
    ),
    "vase": Form(0.74, (0.115, 0.085, 0.075, 0.10, 0.165, 0.215, 0.23, 0.215, 0.18, 0.14, 0.115)),
    "fruit": Form(0.42, (0.02, 0.135, 0.18, 0.205, 0.214, 0.214, 0.205, 0.18, 0.145, 0.09)),
    "book": Form(0.72, (0.27, 0.27, 0.27), edge=14.0),
    "plant": Form(0.40, (0.215, 0.21, 0.20, 0.19, 0.175, 0.16), filled=0.90),
    "loaf": Form(0.34, (0.03, 0.20, 0.275, 0.315, 0.335, 0.335, 0.31), edge=2.6),
}
HOT = ("cup", "bowl")
#: Forms without an opening.
CLOSED = ("fruit", "loaf", "book")


def paint_object(stage: Stage, form_name: str = "cup", tint: str = "", *, is_hot: bool = False) -> Painter:
    """Paint an object of FORMS on a table in the light of a window; `tint` is its colour or that of its content."""
    form, place = FORMS[form_name], stage.place
    walls = (("2a2320", "6b5644"), ("1c2630", "4a6070"), ("26301f", "66704c"), ("34222a", "7c5a5c"))
    wall = walls[int(place.integers(len(walls)))]
    zoom = stage.pick(0.95, 1.4, 2.1) * min(1.0, 0.45 + stage.aspect)
    foot = stage.pick(0.40, 0.52, 0.42) + stage.pick(0, 0, 0.62) * form.height
    x, y = stage.x / np.float32(zoom), (stage.y - foot) / np.float32(zoom)
    back = _paint_room(stage, x, y, wall, foot)
    tint = tint or str(place.choice(("e8dccb", "b8462f", "3f6f7a", "d9a441", "7a8a5a")))
    plate, mask = _paint_form(stage, form, form_name, x, y, back, tint)
    width = max(form.radii)
    base = round(stage.sharp(0, foot + 0.3 * TILT * form.radii[-1] * zoom)[1])
    rows = np.clip(2 * base - np.arange(stage.height), 0, stage.height - 1)
    mirrored = blur(plate[:, rows] * mask[rows], 3.0), blur(mask[rows], 3.0)
    below = smooth(0.0, 0.02, y) * smooth(0.7, 0.0, y) * 0.34
    shadow = np.exp(-(((x - 0.55 * width) / (1.5 * width)) ** 2) - ((y - 0.02) / 0.09) ** 2) * 0.62
    contact = np.exp(-((x / (form.radii[-1] * 1.1)) ** 4) - ((y - 0.02) / 0.035) ** 2) * 0.6
    canvas = back * (1 - np.maximum(shadow, contact))
    canvas = canvas + (mirrored[0] - canvas * mirrored[1]) * below
    canvas = mix(canvas, plate, mask)
    light, dust = stage.glow(-0.7 * stage.aspect, -0.75, 1.1, 0.9), Motes(stage, 18, 1.4, -0.012, 0.03)
    plume = _Steam(stage, x, y + form.height * (1 - 0.1 * is_hot), width) if is_hot else None

    def paint(t: float) -> Picture:
        picture = canvas * (1 + (0.10 + 0.05 * math.sin(0.8 * t)) * light)
        if plume:
            picture = picture + plume.view(t) * color("fff2e2") * 0.42
        dust.draw(picture, t, color("ffe8c8") * 0.20)
        return picture

    return paint


def _paint_room(stage: Stage, x: Field, y: Field, wall: tuple[str, str], foot: float) -> Picture:
    """Return the wall with the light of a window, and the table."""
    place, scale = stage.place, stage.height / 740
    light = stage.glow(-0.5 * stage.aspect, foot - 0.75, 0.85, 1.1)
    back = ramp(0.10 + 0.95 * light + 0.06 * Texture(place, power=2).view(stage, 0.9, step=8), "0b0a0a", *wall)
    for _ in range(9):
        at = stage.sharp(place.uniform(-1.1, 1.1) * stage.aspect, foot - place.uniform(0.35, 1.3))
        glow = color("ffd9a0") * np.float32(place.uniform(0.03, 0.10))
        add_light(back, *at, place.uniform(26, 60) * scale * stage.pick(0.8, 1.1, 1.5), glow, is_disc=True)
    back = blur(back, 4 * scale)
    grain = Texture(place, power=1.3, stretch=16, coarse=6).view(stage, 0.9, step=1)
    wood = place.choice(("5a3c28", "3a2a22", "8a6a4a", "6e6660"))
    near = smooth(-0.10, 0.9, y)
    table = color(str(wood)) * (0.55 + 0.75 * light + 0.25 * near) * (0.75 + 0.5 * grain)
    table = table + stage.glow(-0.35 * stage.aspect, foot + 0.12, 0.42, 1.5) * color("ffe0b8") * 0.16
    return mix(back, table, smooth(-0.135, -0.095, y + 0.012 * np.abs(x)))


def _paint_form(
    stage: Stage, form: Form, name: str, x: Field, y: Field, back: Picture, tint: str
) -> tuple[Picture, Field]:
    """Return the shaded object and its mask."""
    pixel = np.float32(2.2 / stage.height)
    steps = np.linspace(-form.height, 0, len(form.radii))
    fine = np.linspace(-form.height, 0, 80)
    kernel = np.hanning(15)[1:-1] / 7
    radii = np.interp(fine, steps, form.radii)
    for _ in range(2):
        radii = np.convolve(np.pad(radii, 6, mode="edge"), kernel, "valid")
    half = np.interp(y, fine, radii).astype(np.float32)
    bulge = np.clip(1 - np.abs(x / half) ** form.edge, 0, 1) ** np.float32(1 / form.edge)
    up = y - np.float32(TILT * 0.55) * half * (bulge - 0.0)
    half = np.interp(up, fine, radii).astype(np.float32)
    slope = np.interp(up, fine, np.gradient(radii, fine)).astype(np.float32)
    nx = np.clip(x / half, -1, 1)
    nz = np.clip(1 - np.abs(nx) ** form.edge, 0, 1) ** np.float32(1 / form.edge)
    length = np.sqrt(nx**2 + nz**2 + slope**2)
    lambert = np.clip((-0.62 * nx + 0.66 * nz + 0.42 * slope) / length, 0, 1)
    rim = np.clip(nx, 0, 1) ** 7
    inside = np.clip((half - np.abs(x)) / pixel + 0.5, 0, 1) * np.clip((up + form.height) / pixel + 0.5, 0, 1)
    inside = inside * np.clip(-up / pixel + 0.5, 0, 1)
    window = np.exp(-(((nx + 0.52) / 0.10) ** 2)) * smooth(0.0, 0.10, up + form.height) * smooth(-0.02, -0.14, up)
    glaze = {"loaf": 0.02, "book": 0.03, "fruit": 0.16}.get(name, 0.34)
    body = color(_clay(name, tint)) * (0.13 + 0.95 * lambert)
    if name in ("loaf", "fruit", "vase", "plant", "book"):
        body = body * (0.86 + 0.28 * Texture(stage.place, power=1.0, coarse=14).view(stage, 0.6, step=1))
    if name == "book":
        body = _bind(body, x, up, form, tint)
    if form.is_glass:
        body = _fill_glass(form, back, nx, up, tint, lambert)
    body = body + rim * 0.30 * color("ffd9b0") + window * np.float32(glaze) * color("fff6ea")
    top, wide = y + form.height, np.float32(radii[0])
    oval = (np.abs(x) / wide) ** form.edge + (np.abs(top) / (TILT * 0.55 * wide)) ** 2
    mouth = smooth(1.06, 0.98, oval) * np.float32(name not in CLOSED)
    inner = color(_clay(name, tint)) * (0.30 + 0.45 * np.clip(0.5 + x / wide, 0, 1) + 0 * y)
    if form.filled:
        drop = np.float32((1 - form.filled) * form.height)
        level = (x / (wide * 0.93)) ** 2 + ((top - drop) / (TILT * 0.5 * wide)) ** 2
        sheen = np.exp(-(((x + 0.35 * wide) / (0.30 * wide)) ** 2) - ((top - drop) / (0.06 * wide)) ** 2)
        content = color(_content(name, tint)) * (0.70 + 0.25 * np.clip(0.5 - x / wide, 0, 1)) + sheen * 0.22
        content = back * 0.8 + sheen * 0.2 if form.is_glass else content
        inner = mix(inner, content, smooth(1.05, 0.95, level))
    lip = np.exp(-(((np.sqrt(oval + 1e-6) - 1) / 0.035) ** 2)) * (0.35 + 0.45 * smooth(wide, -wide, x))
    plate = mix(body, inner, mouth) + lip * (0.5 if form.is_glass else 0.28) * (name not in CLOSED)
    mask = np.maximum(inside, mouth)
    if form.is_glass:
        mask = mask * 0.98
    if name == "cup":
        ring = np.abs(np.sqrt((x - 0.275) ** 2 + ((y + 0.215) * 0.95) ** 2) - 0.105)
        handle = smooth(0.030, 0.024, ring) * (x > 0.20) * (1 - inside)
        plate = mix(plate, color(_clay(name, tint)) * (0.28 + 0.55 * smooth(0.03, 0.0, ring)), handle * (1 - mask))
        mask = np.maximum(mask, handle)
    if name == "plant":
        plate, mask = _grow_leaves(stage, form, x, y, plate, mask)
    return plate, mask


def _clay(name: str, tint: str) -> str:
    """Return the colour of the object itself: the tint, unless it is the colour of the content."""
    return {"cup": "efe8dc", "bowl": "d8d2c6", "plant": "b8694a", "loaf": "b87a3c"}.get(name, tint)


def _content(name: str, tint: str) -> str:
    return "2a1c14" if name == "plant" else tint


def _fill_glass(form: Form, back: Picture, nx: Field, up: Field, tint: str, lambert: Field) -> Picture:
    """Return clear glass over the picture behind it, with a liquid."""
    level = -form.height * form.filled
    edge = np.abs(nx) ** 6
    clear = back * (0.82 - 0.35 * edge) + edge * 0.16 * color("e8f0f4")
    liquid = color(tint) * (0.42 + 0.62 * lambert) * (0.9 + 0.2 * smooth(-form.height, 0, up)) + 0.10 * back[:, :, ::-1]
    bottom = smooth(-0.055, -0.035, up)
    filled = mix(
        clear, liquid, smooth(level - 0.004, level + 0.004, up) * (1 - bottom) * (1 - smooth(0.90, 0.99, np.abs(nx)))
    )
    return np.asarray(filled + bottom * edge * 0.08 + np.exp(-(((up - level) / 0.007) ** 2)) * 0.16)


def _bind(body: Picture, x: Field, up: Field, form: Form, tint: str) -> Picture:
    """Return a book cover with a spine and two gilt lines."""
    body = body * (1 - 0.35 * np.exp(-(((x + 0.215) / 0.010) ** 2)))
    frame = np.maximum(np.abs(x - 0.025) / 0.20, np.abs(up + form.height / 2) / (form.height / 2 - 0.07))
    gilt = np.exp(-(((frame - 1) / 0.014) ** 2)) + 0.8 * np.exp(-(((np.abs(up + 0.47) - 0.0) / 0.010) ** 2)) * (
        np.abs(x - 0.025) < 0.10
    )
    return mix(body, color("d8b468"), np.clip(gilt, 0, 1) * 0.7)


def _grow_leaves(stage: Stage, form: Form, x: Field, y: Field, plate: Picture, mask: Field) -> tuple[Picture, Field]:
    """Return the object with leaves that grow from its opening."""
    for number in range(17):
        turn = -1.35 + 2.7 * ((number * 7) % 17) / 16 + stage.place.normal(0, 0.06)
        reach, wide = stage.place.uniform(0.32, 0.62), stage.place.uniform(0.05, 0.085)
        across, down = x - 0.05 * turn, y + form.height
        along = (across * math.sin(turn) - down * math.cos(turn)) / np.float32(reach)
        off = across * math.cos(turn) + down * math.sin(turn) + 0.16 * turn * np.clip(along, 0, 1.1) ** 2 * -1
        half = wide * np.sin(np.pi * np.clip(along, 0, 1) ** 0.75)
        leaf = np.clip((half - np.abs(off)) * (stage.height / 3) + 0.5, 0, 1) * (along > 0) * (along < 1) * (half > 0)
        vein = np.exp(-((off / 0.004) ** 2)) * 0.25
        shade = (
            0.30
            + 0.40 * number / 16
            + 0.30 * np.clip(-off / (wide + 1e-3), -1, 1) * (1 if turn < 0 else -1)
            - 0.12 * turn
        )
        plate = mix(plate, color("5f9050") * (shade + vein + 0.25 * np.clip(along, 0, 1)), leaf)
        mask = np.maximum(mask, leaf)
    return plate, mask


class _Steam:
    """Steam that rises from a point; x and y are the coordinates relative to it."""

    def __init__(self, stage: Stage, x: Field, y: Field, width: float) -> None:
        self.stage, self.x = stage, x
        self.rise = np.clip(-y, 0, None)
        self.fade = smooth(0.0, 0.10, self.rise) * smooth(1.5, 0.25, self.rise)
        self.width = np.float32(width) * (0.34 + 0.75 * self.rise)
        self.textures = [Texture(stage.rng, power=1.9, stretch=0.45, coarse=3) for _ in range(2)]

    def view(self, t: float) -> Field:
        """Return the density at time `t`."""
        sway = 0.07 * self.rise * np.sin(2.4 * self.rise - 0.9 * t)
        column = np.exp(-(((self.x - sway) / self.width) ** 2)) * self.fade
        first, second = self.textures
        wisps = first.view(self.stage, 0.62, 0.03 * t, 0.13 * t, step=3) + second.view(
            self.stage, 0.42, -0.02 * t, 0.19 * t, step=3
        )
        return np.asarray(column * smooth(0.72, 1.5, wisps))
