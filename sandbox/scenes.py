"""Scenes of water, woods and snow."""

import math

import numpy as np

from sandbox.painting import (
    Field,
    Motes,
    Painter,
    Picture,
    Stage,
    Texture,
    blur,
    color,
    mix,
    outline,
    ramp,
    smooth,
)


class Surface:
    """Ground or water below the horizon: a texture in perspective, averaged where it is far away."""

    LEVELS = 4

    def __init__(self, stage: Stage, horizon: float, texture: Texture, scale: float) -> None:
        self.first = min(stage.height - 2, max(1, round(stage.sharp(0, horizon)[1])))
        rows = np.arange(stage.height - self.first, dtype=np.float32)[:, None] + 1
        depth = np.float32(stage.height) / rows
        self.depth: Field = np.minimum(depth / np.float32(stage.height / rows[-1, 0]), 60)
        size = texture.size
        across = stage.x / stage.x.max() * np.float32(0.5 * stage.aspect * scale * size) * self.depth
        along = self.depth * np.float32(scale * size)
        level = np.clip(np.log2(self.depth * scale), 0, self.LEVELS - 1).astype(np.int64)
        soft = [texture.field, *(blur(np.tile(texture.field, (1, 1)), 1.6 * 2**n) for n in range(self.LEVELS - 1))]
        self.size, self.table = size, np.concatenate([part.ravel() for part in soft])
        self.base = level * size * size
        self.column, self.row = across.astype(np.int64), -along.astype(np.int64) + 0 * across.astype(np.int64)

    def view(self, x: float = 0, y: float = 0) -> Field:
        """Return the texture below the horizon, moved by (x, y) texels."""
        column, row = (self.column + int(x)) % self.size, (self.row + int(y)) % self.size
        return np.asarray(self.table[self.base + row * self.size + column])


def paint_sea(stage: Stage) -> Painter:
    """Paint the sea: waves with a path of light under a low sun."""
    place = stage.place
    skies = (("2c4a78", "7d9cc0", "f5d6b0"), ("31456e", "c98f8f", "ffd9a0"), ("3c7fb5", "8cc4e6", "e8f4f6"))
    sky_colors = skies[int(place.integers(len(skies)))]
    horizon, sun = stage.pick(-0.22, -0.42, -0.72), float(place.uniform(-0.3, 0.3)) * stage.aspect
    sky = ramp((stage.y + 1.16) / (horizon + 1.16) + 0 * stage.x, *sky_colors)
    haze = Texture(place, power=1.9, stretch=3).view(stage, 0.9)
    sky += smooth(0.45, 0.85, haze) * 0.16 * smooth(horizon, horizon - 0.9, stage.y) * color("fff0e0")
    sky += stage.glow(sun, horizon - 0.16, 0.55) * color("ffc890") * 0.45 + stage.glow(sun, horizon - 0.16, 0.085) * 0.6
    swell = Surface(
        stage, horizon, Texture(place, power=2.2, stretch=2.2, coarse=7, size=1024), stage.pick(0.8, 0.6, 0.42)
    )
    chop = Surface(
        stage, horizon, Texture(place, power=1.9, stretch=2.0, coarse=22, size=1024), stage.pick(0.6, 0.5, 0.4)
    )
    near = 1 / swell.depth
    top = swell.first
    path = np.exp(-(((stage.x - sun) / (0.10 + 0.35 * near)) ** 2)).astype(np.float32)
    far = color(sky_colors[2]) * 0.55 + color(sky_colors[1]) * 0.35
    deep, crest, gold = color("0b3550"), color(sky_colors[1]) * 0.95, color("ffd9a0")
    water = mix(far, deep, smooth(0.0, 0.55, near) + 0 * stage.x)

    def paint(t: float) -> Picture:
        wave = 0.62 * swell.view(24 * t, 80 * t) + 0.38 * chop.view(-58 * t, 122 * t)
        light = 0.7 * chop.view(82 * t, 64 * t) + 0.5 * wave
        canvas = sky.copy()
        sea = mix(water, crest, smooth(0.42, 0.78, wave) * 0.75)
        sea *= 0.72 + 0.56 * wave
        sea += smooth(0.60, 0.95, light) * path * gold * 1.1 + path * gold * 0.10
        sea += smooth(0.62, 0.95, wave) * near * 0.16
        canvas[:, top:] = mix(far, sea, smooth(0.0, 0.10, near))
        return canvas

    return paint


def trunk_layer(stage: Stage, count: int, thickness: float, reach: float = 0.0) -> Field:
    """Return the mask of trees of this thickness, with branches from `reach` upwards."""
    rng, mask = stage.place, np.zeros((stage.height, stage.width), np.float32)
    edge = np.float32(2.5 / stage.height)
    for number in range(count):
        x = (-1.15 + 2.3 * (number + rng.uniform(0.1, 0.9)) / count) * stage.aspect * 1.1
        lean, wide = rng.normal(0, 0.025), thickness * rng.uniform(0.6, 1.4)
        middle = x + lean * stage.y + 0.02 * outline(rng, stage.y, 3)
        half = wide * (0.75 + 0.25 * stage.y) + 0.004
        half = half + wide * 0.9 * smooth(0.75, 1.1, stage.y)
        mask = np.maximum(mask, _inside(stage.x - middle, half, edge))
        for _ in range(5):
            y, side, slope = rng.uniform(-1.1, reach), rng.choice((-1, 1)), rng.uniform(0.15, 0.6)
            along = (stage.x - middle) * side
            bough = np.abs(stage.y - y + slope * along + 0.03 * outline(rng, along * 4, 3))
            taper = wide * 0.32 * np.clip(1 - along / (9 * wide), 0, 1)
            mask = np.maximum(mask, _inside(bough, taper, edge) * (along > 0) * (taper > 0))
    return mask


def _inside(distance: Field, half: Field, edge: np.float32) -> Field:
    return np.clip((half - np.abs(distance)) / edge + 0.5, 0, 1)


def fir_layer(stage: Stage, base: float, height: float, count: int) -> Field:
    """Return the mask of a row of firs; `base` is the y of the ground."""
    rng = stage.place
    mask = np.zeros((stage.height, stage.width), np.float32)
    for _ in range(count):
        x, tall = rng.uniform(-1.2, 1.2) * stage.aspect, height * rng.uniform(0.55, 1.2)
        foot = base + 0.05
        part = (stage.y - (foot - tall)) / np.float32(tall)
        steps = 0.75 + 0.25 * ((part * rng.uniform(7, 10)) % 1)
        ragged = 1 + 0.25 * np.sin(stage.y * 130 / tall + rng.uniform(0, 6)) * np.sin(stage.y * 57 / tall)
        half = 0.20 * tall * np.clip(part, 0, 1.1) * steps * ragged
        mask = np.maximum(mask, np.clip((half - np.abs(stage.x - x)) * (stage.height / 3), 0, 1) * (part < 1.15))
    return mask


def paint_forest(stage: Stage) -> Painter:
    """Paint a forest in fog with beams of light between the trees."""
    tints = (("dfe8d8", "9fb8a4", "16281f"), ("f2dfb8", "b3a888", "1f2417"), ("cfe0e6", "8fabb0", "12242a"))
    light, fog, dark = tints[int(stage.place.integers(len(tints)))]
    sun = float(stage.place.uniform(-0.35, 0.35)) * stage.aspect
    glow = stage.glow(sun, -0.5, 0.85)
    back = ramp(0.15 + 0.75 * glow, dark, fog, light)
    zoom = stage.pick(1.0, 1.7, 2.6)
    layers = [
        trunk_layer(stage, int(stage.pick(15, 10, 8)), 0.010 * zoom, -0.1),
        trunk_layer(stage, int(stage.pick(9, 6, 4)), 0.020 * zoom, -0.3),
        trunk_layer(stage, int(stage.pick(4, 3, 2)), 0.040 * zoom, -0.5),
    ]
    bark = Texture(stage.place, power=1.2, stretch=0.15, coarse=12).view(stage, 0.5)
    ferns = 0.93 - 0.22 * stage.pick(0.2, 0.7, 1.0)
    floor = smooth(
        -0.03, 0.06, stage.y - ferns - 0.10 * Texture(stage.place, power=1.0, coarse=8).view(stage, 0.9) + 0.05
    )
    angle = np.arctan2(stage.x - sun * 1.6, stage.y + 1.7)
    beams = Texture(stage.place, power=1.3, coarse=3).field[0]
    wisps = Texture(stage.rng, power=1.9, stretch=2)
    layers = [blur(layer, radius) for layer, radius in zip(layers, (1.6, 0.8, stage.pick(0.4, 1.6, 3.0)), strict=True)]
    place_fog, place_dark, warm = color(fog), color(dark), color(light)
    spots = Motes(stage, 26, 1.6)

    def paint(t: float) -> Picture:
        canvas = back.copy()
        for number, layer in enumerate(layers):
            depth = (number + 1) / 3
            shade = mix(
                place_fog * (0.55 + 0.45 * glow), place_dark * (0.55 + 0.9 * bark), np.float32(0.30 + 0.62 * depth)
            )
            canvas = mix(canvas, shade, layer)
            mist = wisps.view(stage, 0.7 - 0.15 * number, (0.020 + 0.015 * number) * t, 0.3 * number, step=4)
            mist = smooth(0.35, 0.85, mist) * smooth(-0.9, 0.7, stage.y) * (0.62 - 0.16 * number)
            canvas = mix(canvas, place_fog * (0.72 + 0.4 * glow), mist)
        canvas = mix(canvas, place_dark * 0.55, floor * 0.92)
        rays = np.interp(angle * 150 + 4 * math.sin(0.2 * t) + 90, np.arange(beams.size), beams).astype(np.float32)
        canvas += smooth(0.5, 0.9, rays) * (0.30 * smooth(0.9, -0.6, stage.y)) * warm * (0.35 + 0.65 * glow)
        spots.draw(canvas, t, warm * 0.30)
        return canvas

    return paint


def paint_snow(stage: Stage) -> Painter:
    """Paint snow that falls on hills with firs."""
    skies = (("93a9c4", "c6d4e2", "eef3f8"), ("a9a6c0", "d9ccd6", "f8eee8"), ("7f95ad", "b9c7d4", "e8eef2"))
    sky = skies[int(stage.place.integers(len(skies)))]
    canvas = ramp((stage.y + 1) / 1.7 + 0 * stage.x, *sky)
    zoom, ground = stage.pick(1.0, 1.5, 2.2), color("e9f0f8")
    drifts = Texture(stage.place, power=2.2, stretch=0.4)
    for layer in range(4):
        base, tall = 0.02 + 0.24 * layer * zoom**0.3, 0.22 * zoom * (1 + 0.75 * layer)
        trees = blur(fir_layer(stage, base, tall, int((26, 16, 9, 3)[layer] / zoom**0.7)), (2.0, 1.0, 0.6, 1.4)[layer])
        capped = np.clip(trees - np.roll(trees, int(4 * zoom), axis=0), 0, 1)
        shade = mix(color(sky[1]), color("31425a"), np.float32(0.16 + 0.21 * layer))
        canvas = mix(canvas, shade, trees)
        canvas = mix(canvas, ground, blur(capped, 1.0) * 0.75)
        hill = base + 0.045 + 0.06 * outline(stage.place, stage.x * 1.3, 3)
        slope = drifts.view(stage, 0.8, 0.3 * layer)
        white = mix(color(sky[1]), ground, np.float32(0.35 + 0.2 * layer)) * (0.88 + 0.22 * slope)
        canvas = mix(canvas, white, smooth(-0.012, 0.02 + 0.02 * layer, stage.y - hill))
        canvas = mix(canvas, color(sky[2]), np.float32(0.22 - 0.05 * layer) * smooth(hill + 0.4, hill - 0.1, stage.y))
    flakes = [
        Motes(stage, count, radius, down, 0.015)
        for count, radius, down in ((150, 2.4, 0.10), (60, 4.2, 0.17), (9, 9, 0.26))
    ]
    air = Texture(stage.rng, power=1.8)

    def paint(t: float) -> Picture:
        picture = canvas * (0.93 + 0.10 * air.view(stage, 0.6, 0.03 * t, -0.05 * t, step=8))
        for layer, light in zip(flakes, (0.75, 0.8, 0.22), strict=True):
            layer.draw(picture, t, color("ffffff") * np.float32(light), drift=0.03)
        return picture

    return paint


def paint_underwater(stage: Stage) -> Painter:
    """Paint the light below the surface of water, with rays, bubbles and a sea bed."""
    tones = (("8fe3ea", "1f86a8", "06304f"), ("9fe8d0", "1c8a8a", "053a44"), ("8cc8f4", "2262ac", "071c4a"))
    tone = tones[int(stage.place.integers(len(tones)))]
    back = ramp((stage.y + 1) / 2 + 0 * stage.x, *tone)
    sun = float(stage.place.uniform(-0.4, 0.4)) * stage.aspect
    back += stage.glow(sun, -1.25, 0.75, 1.3) * color("e8fff4") * 0.55
    angle = np.arctan2(stage.x - sun, stage.y + 2.3)
    beams = [Texture(stage.rng, power=1.2, coarse=3).field[0] for _ in range(2)]
    bed = smooth(-0.05, 0.10, stage.y - stage.pick(0.72, 0.86, 0.98) - 0.08 * outline(stage.place, stage.x * 2, 4))
    ripple = Texture(stage.rng, power=1.8, stretch=0.6, coarse=6)
    weeds = [
        (stage.place.uniform(-1.1, 1.1) * stage.aspect, stage.place.uniform(0.3, 1.0), stage.place.uniform(0, 6.28))
        for _ in range(11)
    ]
    bubbles, dust = Motes(stage, 22, 3.6, -0.10, 0.01), Motes(stage, 60, 1.5, -0.008, 0.01)
    fade = smooth(1.15, -0.9, stage.y)
    zoom = stage.pick(1.0, 1.5, 2.2)

    def paint(t: float) -> Picture:
        ray = sum(
            np.interp(angle * 170 + 192 + shift * t, np.arange(beam.size), beam, period=beam.size)
            for beam, shift in zip(beams, (3.0, -4.0), strict=True)
        )
        canvas = back + smooth(0.9, 1.6, np.asarray(ray, np.float32)) * fade * 0.42 * color(tone[0])
        net = np.abs(ripple.view(stage, 0.5, 0.03 * t, 0.05 * t) - ripple.view(stage, 0.5, 0.5 - 0.04 * t, 0.02 * t))
        canvas = mix(canvas, color(tone[2]) * 0.75 + smooth(0.10, 0.0, net) * 0.16 * color(tone[0]), bed * 0.85)
        canvas += smooth(0.14, 0.0, net) * smooth(-0.55, -1.15, stage.y) * 0.30 * color(tone[0])
        for x, tall, phase in weeds:
            high = np.clip((1.1 - stage.y) / np.float32(tall * zoom**0.5), 0, 1)
            middle = x + 0.10 * high * np.sin(2.2 * high + 0.8 * t + phase) + 0.02 * np.sin(9 * high - t + phase)
            half = 0.030 * zoom * np.sqrt(np.clip(1 - high, 0, 1)) * (0.8 + 0.2 * np.sin(26 * high + phase))
            columns = slice(*(int(np.clip(stage.sharp(x + d, 0)[0], 0, stage.width)) for d in (-0.24, 0.24)))
            leaf = np.clip((half - np.abs(stage.x[:, columns] - middle)) * (stage.height / 8), 0, 1) * (high < 1)
            canvas[:, :, columns] = mix(canvas[:, :, columns], color(tone[2]) * (0.45 + 0.5 * (1 - high)), leaf * 0.8)
        dust.draw(canvas, t, color(tone[0]) * 0.25)
        bubbles.draw(canvas, t, color("e8fff8") * 0.35)
        return canvas

    return paint
