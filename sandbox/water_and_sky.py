"""Scenes of the sea, of the world below its surface, and of clouds."""

import numpy as np

from sandbox.painting import Field, Painter, Picture, blur, color, mix, outline, smooth
from sandbox.stage import Motes, Rays, Stage, Texture


class Surface:
    """Water below the horizon: a texture in perspective, averaged where it is far away."""

    LEVELS = 4

    def __init__(self, stage: Stage, horizon: float, texture: Texture, scale: float) -> None:
        self.first = min(stage.height - 2, max(1, round(stage.pixel(0, horizon)[1])))
        rows = np.arange(stage.height - self.first, dtype=np.float32)[:, None] + 1
        #: How far away each row is: the lowest 1.
        self.depth: Field = np.minimum(rows[-1] / rows, 60)
        self.size = size = texture.size
        across = stage.x / stage.x.max() * np.float32(0.5 * stage.aspect * scale * size) * self.depth
        along = self.depth * np.float32(scale * size)
        level = np.clip(np.log2(self.depth * scale), 0, self.LEVELS - 1).astype(np.int32)
        soft = [texture.field, *(blur(texture.field, 1.6 * 2**n) for n in range(self.LEVELS - 1))]
        self.table, self.base = np.concatenate([part.ravel() for part in soft]), level * size * size
        self.column, self.row = across.astype(np.int32), -along.astype(np.int32)

    def view(self, x: float, y: float) -> Field:
        """Return the texture below the horizon, moved by (x, y) texels."""
        mask = self.size - 1
        start = self.base + ((self.row + int(y)) & mask) * self.size
        return np.asarray(self.table[start + ((self.column + int(x)) & mask)])


def paint_sea(stage: Stage, *sky_colors: Picture) -> Painter:
    """Paint the sea: waves with a path of light under a low sun."""
    place, horizon = stage.place, stage.pick(-0.22, -0.42, -0.72)
    sun = float(place.uniform(-0.3, 0.3)) * stage.aspect
    sky, haze = stage.sky(horizon, *sky_colors), Texture(place, power=1.9, stretch=3).view(stage, 0.9)
    sky += smooth(0.45, 0.85, haze) * 0.16 * smooth(horizon, horizon - 0.9, stage.y) * color("fff0e0")
    sky += stage.glow(sun, horizon - 0.16, 0.55) * color("ffc890") * 0.45 + stage.glow(sun, horizon - 0.16, 0.085) * 0.6
    swell = Surface(stage, horizon, Texture(place, 2.2, 2.1, coarse=7, size=512), stage.pick(0.8, 0.6, 0.42))
    chop = Surface(stage, horizon, Texture(place, 1.9, 2.1, coarse=22, size=512), stage.pick(0.6, 0.5, 0.4))
    near, top = 1 / swell.depth, swell.first
    path = np.exp(-(((stage.x - sun) / (0.10 + 0.35 * near)) ** 2)).astype(np.float32)
    far = sky_colors[2] * 0.55 + sky_colors[1] * 0.35
    water, fog = mix(far, color("0b3550"), smooth(0.0, 0.55, near) + 0 * stage.x), smooth(0.0, 0.10, near)
    crest, gold = sky_colors[1] * 0.95 - water, path * color("ffd9a0")

    def paint(t: float) -> Picture:
        ripple = chop.view(-58 * t, 122 * t)
        wave = 0.62 * swell.view(24 * t, 80 * t) + 0.38 * ripple
        light = 0.7 * chop.view(82 * t, 64 * t) + 0.5 * wave
        canvas = sky.copy()
        sea = (water + crest * (smooth(0.42, 0.78, wave) * 0.75)) * (0.72 + 0.56 * wave)
        sea += gold * (smooth(0.60, 0.95, light) * 1.1 + 0.10) + smooth(0.62, 0.95, wave) * near * 0.16
        canvas[:, top:] = mix(far, sea, fog)
        return canvas

    return paint


def paint_underwater(stage: Stage, *tones: Picture) -> Painter:
    """Paint the light below the surface of water, with rays, bubbles and rocks."""
    light, _, dark = tones
    sun = float(stage.place.uniform(-0.4, 0.4)) * stage.aspect
    back = stage.sky(1.0, *tones) + stage.glow(sun, -1.25, 0.75, 1.3) * color("e8fff4") * 0.55
    left, right = (Rays(stage, stage.rng, sun, -2.3) for _ in range(2))
    rocks = smooth(-0.02, 0.05, stage.y - stage.pick(0.66, 0.74, 0.80) - 0.12 * outline(stage.place, stage.x * 3, 4))
    back = mix(back, dark * 0.8, blur(rocks, 2 * stage.unit) * 0.8)
    light_of_rays = light * (1 - rocks) * smooth(1.15, -0.9, stage.y) * 0.42
    bubbles, dust = Motes(stage, 22, 3.4, -0.10, 0.01), Motes(stage, 60, 1.5, -0.008, 0.01)

    def paint(t: float) -> Picture:
        canvas: Picture = back + smooth(0.9, 1.6, left.view(3 * t) + right.view(-4 * t)) * light_of_rays
        dust.draw(canvas, t, light * 0.25)
        bubbles.draw(canvas, t, color("e8fff8") * 0.35)
        return canvas

    return paint


def paint_clouds(stage: Stage, *sky_colors: Picture) -> Painter:
    """Paint clouds in the sun, seen from among them."""
    sun = float(stage.place.uniform(-0.4, 0.4)) * stage.aspect
    sky = stage.sky(1.0, *sky_colors) + stage.glow(sun, -0.55, 0.6) * color("fff0d0") * 0.4
    layers = [Texture(stage.place, power=power, stretch=1.04, coarse=2) for power in (2.3, 2.2, 2.1)]
    shadow = mix(sky_colors[0], sky_colors[2], 0.55)
    level = 0.17 * smooth(-0.4, 0.9, stage.y), 0.60 - 0.14 * smooth(0.2, 1.0, stage.y)

    def paint(t: float) -> Picture:
        canvas = sky
        for number, layer in enumerate(layers):
            size, x = stage.pick(1.0, 0.72, 0.5) * (0.95 - 0.2 * number), (0.010 + 0.012 * number) * t + 0.37 * number
            density = layer.view(stage, size, x, -0.002 * t, step=1)
            lit = density - layer.view(stage, size, x, -0.002 * t - 0.035 * size, step=3)
            over = density - level[1] + number * level[0]
            shade = mix(shadow, color("fffaf2"), np.clip(0.62 + 3.6 * lit + 0.30 * over, 0, 1))
            canvas = mix(canvas, shade, smooth(-0.04, 0.24, over) * 0.92)
        return canvas

    return paint
