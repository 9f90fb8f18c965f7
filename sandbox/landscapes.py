"""Scenes on land: snow on hills, a forest in fog, a desert, and a night sky over a ridge."""

import math

import numpy as np

from sandbox.painting import Field, Painter, Picture, add_light, blur, color, mix, outline, ramp, smooth
from sandbox.stage import Motes, Rays, Stage, Texture


def paint_snow(stage: Stage, *sky_colors: Picture) -> Painter:
    """Paint snow that falls on hills with firs."""
    _, middle, horizon = sky_colors
    canvas, drifts = stage.sky(0.6, *sky_colors), Texture(stage.place, power=2.2, stretch=0.4)
    zoom, ground = stage.pick(1.0, 1.5, 2.2), color("e9f0f8")
    for layer in range(4):
        base, tall = 0.02 + 0.24 * layer * zoom**0.3, 0.22 * zoom * (1 + 0.75 * layer)
        trees = _plant_firs(stage, base, tall, int((26, 16, 9, 3)[layer] / zoom**0.7))
        trees = blur(trees, (1.6, 0.9, 0.7, 1.6)[layer] * 2 * stage.unit)
        canvas = mix(canvas, mix(middle, color("31425a"), 0.16 + 0.21 * layer), trees)
        hill = base + 0.045 + 0.06 * outline(stage.place, stage.x * 1.3, 3)
        white = mix(middle, ground, 0.35 + 0.2 * layer) * (0.88 + 0.22 * drifts.view(stage, 0.8, 0.3 * layer))
        canvas = mix(canvas, white, smooth(-0.012, 0.02 + 0.02 * layer, stage.y - hill))
        canvas = mix(canvas, horizon, (0.22 - 0.05 * layer) * smooth(hill + 0.4, hill - 0.1, stage.y))
    flakes = [
        (Motes(stage, count, radius, down, 0.015), color("ffffff") * np.float32(light))
        for count, radius, down, light in ((150, 2.4, 0.10, 0.75), (60, 4.2, 0.17, 0.8), (9, 9, 0.26, 0.22))
    ]
    air = Texture(stage.rng, power=1.8)

    def paint(t: float) -> Picture:
        picture = canvas * (0.93 + 0.10 * air.view(stage, 0.6, 0.03 * t, -0.05 * t, step=8))
        for motes, light in flakes:
            motes.draw(picture, t, light, drift=0.03)
        return picture

    return paint


def _plant_firs(stage: Stage, base: float, height: float, count: int) -> Field:
    """Return the mask of a row of firs; `base` is the y of the ground."""
    rng, mask = stage.place, np.zeros((stage.height, stage.width), np.float32)
    for _ in range(count):
        x, tall = rng.uniform(-1.2, 1.2) * stage.aspect, height * rng.uniform(0.55, 1.2)
        part = (stage.y - base - 0.05 + tall) / np.float32(tall)
        ragged = 1 + 0.25 * np.sin(stage.y * 130 / tall + rng.uniform(0, 6)) * np.sin(stage.y * 57 / tall)
        half = 0.20 * tall * np.clip(part, 0, 1.1) * (0.75 + 0.25 * (part * rng.uniform(7, 10) % 1)) * ragged
        mask = np.maximum(mask, np.clip((half - np.abs(stage.x - x)) * (stage.height / 3), 0, 1) * (part < 1.15))
    return mask


def paint_forest(stage: Stage, light: Picture, fog: Picture, dark: Picture) -> Painter:
    """Paint a forest in fog with beams of light between the trees."""
    place, zoom = stage.place, stage.pick(1.0, 1.7, 2.6)
    sun = float(place.uniform(-0.35, 0.35)) * stage.aspect
    glow = stage.glow(sun, -0.5, 0.85)
    back, bark = ramp(0.15 + 0.75 * glow, dark, fog, light), Texture(place, 1.2, 0.15, coarse=12).view(stage, 0.5)
    softness = (1.6, 0.8, stage.pick(0.4, 1.6, 3.0))
    warm, mist_light = light * (0.30 * smooth(0.9, -0.6, stage.y)) * (0.35 + 0.65 * glow), fog * (0.72 + 0.4 * glow)
    # The layers as their difference from the lit mist, because the mist before them is all that changes.
    far, layers = back - mist_light, []
    for number in range(3):
        count, thickness = int((15, 9, 4)[number] / zoom**0.6) + 1, 0.01 * zoom * 2**number
        mask = blur(_plant_trunks(stage, count, thickness), 3 * stage.unit * softness[number])
        shade = mix(fog * (0.55 + 0.45 * glow), dark * (0.55 + 0.9 * bark), 0.5 + 0.21 * number)
        layers.append((1 - mask, (shade - mist_light) * mask))
    ferns = Texture(place, power=1.0, coarse=8).view(stage, 0.9) - 0.5
    floor = smooth(-0.05, 0.10, stage.y - stage.pick(0.89, 0.78, 0.71) - 0.16 * ferns) * 0.92
    keep, shade = layers.pop()
    layers.append((keep * (1 - floor), shade * (1 - floor)))
    ground = mix(mist_light, dark * 0.55, floor)
    rays, wisps = Rays(stage, place, sun * 1.6, -1.7), Texture(stage.rng, power=1.9, stretch=2)
    low, spots = smooth(-0.9, 0.7, stage.y), Motes(stage, 26, 1.6)

    def paint(t: float) -> Picture:
        canvas = far
        for number, (keep, shade) in enumerate(layers):
            shift = (0.020 + 0.015 * number) * t, 0.3 * number
            mist = wisps.view(stage, 0.7 - 0.15 * number, *shift, step=4, edges=(0.35, 0.85))
            canvas = canvas * keep + shade
            canvas *= 1 - mist * (low * (0.62 - 0.16 * number))
        canvas += ground
        canvas += smooth(0.5, 0.9, rays.view(4 * math.sin(0.4 * t))) * warm
        spots.draw(canvas, t, light * 0.30)
        return canvas

    return paint


def _plant_trunks(stage: Stage, count: int, thickness: float) -> Field:
    """Return the mask of trunks of this thickness."""
    rng, mask = stage.place, np.zeros((stage.height, stage.width), np.float32)
    for number in range(count):
        x = (-1.15 + 2.3 * (number + rng.uniform(0.1, 0.9)) / count) * stage.aspect * 1.1
        wide = np.float32(thickness * rng.uniform(0.6, 1.4))
        middle = x + rng.normal(0, 0.025) * stage.y + 0.02 * outline(rng, stage.y, 3)
        half = wide * (0.75 + 0.25 * stage.y + 0.9 * smooth(0.75, 1.1, stage.y)) + 0.004
        mask = np.maximum(mask, np.clip((half - np.abs(stage.x - middle)) * (stage.height / 2.5) + 0.5, 0, 1))
    return mask


def paint_desert(stage: Stage, *sky_colors: Picture) -> Painter:
    """Paint dunes under a low sun, with sand that blows over their crests."""
    place, zoom, horizon = stage.place, stage.pick(1.0, 1.6, 2.4), stage.pick(-0.12, -0.30, -0.50)
    side = float(place.choice((-1, 1)))
    back, sun = stage.sky(horizon, *sky_colors), (side * 0.30 * stage.aspect, horizon - 0.28)
    back = back + stage.glow(*sun, 0.60) * color("ffd8a0") * 0.25 + stage.glow(*sun, 0.08) * color("fff2d8")
    lit, dark, veil = color("f0b878"), color("7a4630"), np.zeros((stage.height, stage.width), np.float32)
    for layer in range(4):
        near, height = layer / 3, (0.05 + 0.13 * layer / 3) * zoom**0.5
        hills = outline(place, stage.x * (2.4 - 0.9 * near) / zoom, 3, 0.45)
        depth = stage.y - (horizon + 0.05 + 0.30 * layer * zoom**0.35 + height * hills)
        spine = side * (stage.x - place.uniform(-0.6, 0.6) * stage.aspect) + depth * place.uniform(0.5, 1.1)
        spine = spine + 0.10 * np.sin(5 * depth + place.uniform(0, 6))
        shadow = smooth(-0.01 - 0.02 * near, 0.02 + 0.05 * near, spine) * smooth(1.3, 0.0, depth)
        wave = 0.5 + 0.5 * np.sin(depth * (150 - 80 * near) / zoom + 5 * outline(place, stage.x * 2 + depth, 4))
        sand = mix(lit, dark, shadow * 0.80) * (0.95 + 0.09 * wave * near)
        sand = mix(sand * (1.04 - 0.16 * np.clip(depth, 0, 1)), sky_colors[2] * 0.95, 0.55 * (1 - near) ** 1.5)
        back = mix(back, sand, smooth(-0.003, 0.005, depth))
        veil = np.maximum(veil, np.exp(-np.abs(depth + 0.012) * 34) * (0.3 + 0.45 * near))
    wind, dust = Texture(stage.rng, power=1.5, stretch=5, coarse=5), Motes(stage, 40, 1.3, 0.01, 0.03)

    def paint(t: float) -> Picture:
        blowing = wind.view(stage, 0.7, -0.16 * side * t, 0.02 * t, step=3, edges=(0.40, 0.85)) * veil
        canvas = mix(back, color("ffe6c0"), blowing)
        dust.draw(canvas, t, color("ffe0b0") * 0.25, drift=0.10 * side)
        return canvas

    return paint


def paint_stars(stage: Stage, *sky_colors: Picture) -> Painter:
    """Paint the night sky over a ridge, with the Milky Way and a lit window."""
    place, zoom, scale = stage.place, stage.pick(1.0, 1.4, 2.0), stage.unit
    turn, offset = place.uniform(0.5, 0.9), place.uniform(-0.1, 0.25)
    band = (stage.x * math.cos(turn) + stage.y * math.sin(turn) + offset) / np.float32(0.24 * zoom**0.5)
    milk = np.exp(-(band**2)) * smooth(0.25, 0.8, Texture(place, power=1.6, coarse=4).view(stage, 0.9 / zoom))
    back = stage.sky(0.7, *sky_colors) + milk * color("8f9ad0") * 0.34
    back = np.ascontiguousarray(back + np.exp(-((band * 1.8) ** 2)) * milk * color("ffd9c0") * 0.22)
    tints, count = [color(code) for code in ("cfe0ff", "ffffff", "ffe6c8")], int(1500 * stage.aspect)
    places = place.random((2, count)) * [[stage.width], [stage.height]]
    stars = np.stack([*places, np.minimum(place.pareto(2.2, count), 4)], axis=1).tolist()
    for x, y, size in stars:
        add_light(back, x, y, (0.55 + 0.16 * size) * scale**0.5, tints[int(x) % 3] * np.float32(0.18 + 0.22 * size))
    bright = [star for star in stars if star[2] > 2.6 and star[1] < stage.pixel(0, 0.45)[1]][:50]
    land = stage.pick(0.62, 0.78, 0.92) + 0.10 * outline(place, stage.x * 2.2, 5)
    rough = 0.035 * Texture(place, power=0.9, coarse=20).view(stage, 0.9)
    far = smooth(-0.008, 0.008, stage.y - land + 0.16 - rough * 0.5)
    near = smooth(-0.008, 0.008, stage.y - land - 0.10 * outline(place, stage.x * 3, 4) - 0.06 - rough)
    back = back + smooth(land - 0.55, land, stage.y) * sky_colors[2] * 0.45
    back = mix(mix(back, sky_colors[1] * 0.75, far), sky_colors[0] * 0.7, near)
    window = stage.pixel(float(place.uniform(-0.25, 0.25)) * stage.aspect, stage.pick(0.86, 0.95, 1.02))
    haze, veil = Texture(stage.rng, power=1.9, stretch=2), smooth(0.1, 0.9, stage.y) * sky_colors[2] * 0.22

    def paint(t: float) -> Picture:
        canvas = back + haze.view(stage, 0.9, 0.02 * t, step=8, edges=(0.5, 0.9)) * veil
        for x, y, size in bright:
            twinkle = np.float32((0.25 + 0.25 * math.sin(2.6 * t + x)) * size / 6)
            add_light(canvas, x, y, 2.6 * scale, color("dfe8ff") * twinkle)
        warm = np.float32(0.8 + 0.06 * math.sin(3 * t) + 0.05 * math.sin(7.3 * t))
        add_light(canvas, *window, 26 * zoom**0.5 * scale, color("ff9c40") * 0.22 * warm)
        add_light(canvas, *window, 2.6 * zoom * scale, color("ffd08a") * warm)
        return canvas

    return paint
