"""Scenes under the open sky: stars, a city at night, the desert and clouds."""

import math

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
    outline,
    ramp,
    smooth,
)


def paint_stars(stage: Stage) -> Painter:
    """Paint the night sky over a ridge, with the Milky Way, a moon at times and a lit window."""
    place, zoom, scale = stage.place, stage.pick(1.0, 1.4, 2.0), stage.height / 740
    skies = (("040818", "0e1c40", "31406e"), ("0a0718", "241a44", "6b4a6a"), ("03101c", "0b2b44", "2f6070"))
    sky = skies[int(place.integers(len(skies)))]
    back = ramp((stage.y + 1) / 1.8 + 0 * stage.x, *sky)
    turn, offset = place.uniform(0.5, 0.9), place.uniform(-0.1, 0.25)
    band = (stage.x * math.cos(turn) + stage.y * math.sin(turn) + offset) / np.float32(0.24 * zoom**0.5)
    dust = Texture(place, power=1.6, coarse=4).view(stage, 0.9 / zoom)
    milk = np.exp(-(band**2)) * smooth(0.25, 0.8, dust)
    back = back + milk * color("8f9ad0") * 0.34 + np.exp(-((band * 1.8) ** 2)) * milk * color("ffd9c0") * 0.22
    count = int(1500 * stage.aspect)
    stars = np.stack(
        [place.uniform(0, stage.width, count), place.uniform(0, stage.height, count), place.pareto(2.2, count)], 1
    )
    for x, y, size in stars.tolist():
        tint = color(("cfe0ff", "ffffff", "ffe6c8")[int(x) % 3])
        add_light(back, x, y, (0.55 + 0.16 * min(size, 3)) * scale**0.5, tint * np.float32(0.18 + 0.22 * min(size, 4)))
    bright = [star for star in stars.tolist() if star[2] > 2.6][:50]
    if place.random() < 0.5:
        moon = stage.sharp(float(place.uniform(-0.5, 0.5)) * stage.aspect, -0.62)
        add_light(back, *moon, 90 * scale, color("aab8e8") * 0.30)
        add_light(back, *moon, 21 * zoom * scale, color("fff6e0"), is_disc=True)
    land = stage.pick(0.62, 0.78, 0.92) + 0.10 * outline(place, stage.x * 2.2, 5)
    rough = 0.035 * Texture(place, power=0.9, coarse=20).view(stage, 0.9)
    far = smooth(-0.006, 0.006, stage.y - land + 0.16 - rough * 0.5)
    near = smooth(-0.006, 0.006, stage.y - land - 0.10 * outline(place, stage.x * 3, 4) - 0.06 - rough)
    glow = smooth(land - 0.55, land, stage.y) * color(sky[2]) * 0.45
    back = mix(mix(back + glow, color(sky[1]) * 0.75, far), color(sky[0]) * 0.7, near)
    window = stage.sharp(float(place.uniform(-0.25, 0.25)) * stage.aspect, stage.pick(0.86, 0.95, 1.02))
    haze, start = Texture(stage.rng, power=1.9, stretch=2), float(stage.rng.uniform(0.6, max(0.7, stage.seconds - 1.2)))

    def paint(t: float) -> Picture:
        canvas = (
            back
            + smooth(0.5, 0.9, haze.view(stage, 0.9, 0.01 * t, step=8))
            * smooth(0.1, 0.9, stage.y)
            * color(sky[2])
            * 0.22
        )
        for x, y, size in bright:
            if y < stage.sharp(0, 0.45)[1]:
                twinkle = 0.25 + 0.25 * math.sin(2.6 * t + x)
                add_light(canvas, x, y, 2.6 * scale, color("dfe8ff") * np.float32(twinkle * min(size, 5) / 6))
        warm = np.float32(0.8 + 0.06 * math.sin(3 * t) + 0.05 * math.sin(7.3 * t))
        add_light(canvas, *window, 26 * zoom**0.5 * scale, color("ff9c40") * 0.22 * warm)
        add_light(canvas, *window, 2.6 * zoom * scale, color("ffd08a") * warm)
        _draw_meteor(stage, canvas, (t - start) / 0.7, scale)
        return canvas

    return paint


def _draw_meteor(stage: Stage, canvas: Picture, part: float, scale: float) -> None:
    if 0 < part < 1:
        for step in range(26):
            along = part - step * 0.012
            if along > 0:
                point = stage.sharp((0.45 - 0.7 * along) * stage.aspect, -0.75 + 0.45 * along)
                add_light(
                    canvas,
                    *point,
                    1.5 * scale,
                    color("e8f0ff") * np.float32(math.sin(math.pi * part) * 0.4 * (1 - step / 26)),
                )


def paint_city(stage: Stage) -> Painter:
    """Paint a city at night above water, with lit windows, haze and the lights of traffic."""
    place, zoom, scale = stage.place, stage.pick(1.0, 1.5, 2.3), stage.height / 740
    skies = (("0a1024", "2a3468", "c0788a"), ("08182a", "1c4a60", "c0a078"), ("120c22", "3c2862", "d8708a"))
    sky, water = skies[int(place.integers(len(skies)))], stage.pick(0.42, 0.58, 0.70)
    back = ramp((stage.y + 1.16) / (water + 1.16) + 0 * stage.x, *sky)
    soft = (2.0, 1.1, stage.pick(0.5, 1.2, 2.6))
    for layer in range(3):
        mask, windows = _build_row(stage, water, (0.95, 0.75, 0.5)[layer] * zoom**0.45, layer, zoom * scale)
        body = mix(color(sky[1]), color("0b0e1a"), np.float32(0.30 + 0.30 * layer))
        haze = smooth(water - 0.9, water, stage.y) * (0.55 - 0.17 * layer)
        windows = blur(windows, soft[layer] * scale)
        back = mix(back, mix(body, color(sky[2]) * 0.8, haze), blur(mask, 0.6 * soft[layer])) + windows
        back = back + blur(windows, 10 * scale) * 1.1
    lights = []
    for _ in range(int(stage.pick(26, 22, 18))):
        tint = color(str(place.choice(("ffb45e", "ffd9a0", "ff5e4c", "9fd0ff"))))
        lights.append((place.uniform(-1.2, 1.2), water - place.uniform(0, 0.05), place.uniform(0.02, 0.09), tint))
    top = round(stage.sharp(0, water)[1])
    ripples = Texture(stage.rng, power=1.4, stretch=7, coarse=10)
    below = np.arange(stage.height - top)
    fade = (0.62 - 0.30 * below / below.size)[:, None].astype(np.float32)
    tall = blur(back[:, :top], 2.5 * scale)
    size = stage.pick(2.8, 7, 15) * scale

    def paint(t: float) -> Picture:
        canvas = back.copy()
        shift = ((ripples.view(stage, 0.45, 0.02 * t, 0.10 * t) - 0.5) * (70 * scale))[top:, : stage.width]
        rows = np.clip(
            top - 2 - below[:, None] * 1.15 - shift * (0.25 + below[:, None] / below.size), 0, top - 1
        ).astype(np.int32)
        source = rows * stage.width + np.arange(stage.width)
        canvas[:, top:] = tall.reshape(3, -1)[:, source] * fade + color(sky[0]) * 0.25
        for number, (x, y, speed, tint) in enumerate(lights):
            across = ((x + (-1) ** number * speed * t + 1.2) % 2.4 - 1.2) * stage.aspect
            add_light(canvas, *stage.sharp(across, y), size, tint * 0.55, is_disc=size > 4)
            for step in range(4):
                wave = 0.012 * math.sin(3 * t + 2 * step + number)
                point = stage.sharp(across + wave, y + 0.07 + 0.06 * step * zoom**0.5)
                add_light(canvas, *point, size * 1.3, tint * np.float32(0.15 - 0.03 * step))
        return canvas

    return paint


def _build_row(stage: Stage, foot: float, tall: float, layer: int, scale: float) -> tuple[Field, Picture]:
    """Return the mask of a row of buildings and the light of their windows."""
    rng, mask = stage.place, np.zeros((stage.height, stage.width), np.float32)
    windows = np.zeros((3, stage.height, stage.width), np.float32)
    bottom, x = round(stage.sharp(0, foot)[1]), -10
    while x < stage.width:
        wide = int(rng.uniform(26, 62) * (0.7 + 0.3 * layer) * scale)
        high = int(rng.uniform(0.35, 1.0) ** 1.5 * tall * stage.height / 2 * (1.25 if rng.random() < 0.15 else 1))
        top, left, right = max(0, bottom - high), max(0, x), min(stage.width, x + wide)
        if right > left:
            mask[top:bottom, left:right] = 1
            gap = max(3, round((3.4 + layer) * scale))
            tints = [color(code) for code in ("ffca80", "ffe2b0", "ffb060", "bfe0ff")]
            lit = rng.uniform(0.12, 0.5)
            for row in range(top + gap, bottom - gap, gap + round(scale)):
                for column in range(left + gap // 2, right - gap // 2, gap):
                    if rng.random() < lit:
                        light = tints[int(rng.integers(4))] * np.float32(rng.uniform(0.3, 1.2))
                        windows[:, row : row + max(1, gap // 2), column : column + max(1, gap // 2)] = light
        x += wide + int(rng.uniform(-4, 6) * scale)
    return mask, windows


def paint_desert(stage: Stage) -> Painter:
    """Paint dunes under a low sun, with sand that blows over their crests."""
    place, zoom = stage.place, stage.pick(1.0, 1.6, 2.4)
    skies = (("3f6fa8", "a8b4b8", "ffd29a"), ("5a4a7c", "e08a6a", "ffd090"), ("6fa0c8", "cfd8d8", "f6e4c4"))
    sky, side = skies[int(place.integers(len(skies)))], float(place.choice((-1, 1)))
    horizon = stage.pick(-0.12, -0.30, -0.50)
    sun = side * 0.30 * stage.aspect
    back = ramp((stage.y + 1.16) / (horizon + 1.2) + 0 * stage.x, *sky)
    back = (
        back
        + stage.glow(sun, horizon - 0.28, 0.60) * color("ffd8a0") * 0.25
        + stage.glow(sun, horizon - 0.28, 0.08) * color("fff2d8")
    )
    lit, dark = color("f0b878"), color("7a4630")
    grain = Texture(place, power=0.5, coarse=30).view(stage, 0.95, step=1)
    crests = []
    for layer in range(4):
        near = layer / 3
        crest = (
            horizon
            + 0.05
            + 0.30 * layer * zoom**0.35
            + (0.05 + 0.13 * near) * outline(place, stage.x * (2.4 - 0.9 * near) / zoom, 3, 0.45) * zoom**0.5
        )
        depth = stage.y - crest
        spine = (
            side * (stage.x - place.uniform(-0.6, 0.6) * stage.aspect)
            + depth * place.uniform(0.5, 1.1)
            + 0.10 * np.sin(5 * depth + place.uniform(0, 6))
        )
        shadow = smooth(-0.01 - 0.02 * near, 0.02 + 0.05 * near, spine) * smooth(1.3, 0.0, depth)
        wave = 0.5 + 0.5 * np.sin(depth * (150 - 80 * near) / zoom + 5 * outline(place, stage.x * 2 + depth, 4))
        sand = (
            mix(lit, dark, shadow * 0.80)
            * (1.04 - 0.16 * np.clip(depth, 0, 1))
            * (0.95 + 0.09 * wave * near + 0.06 * (grain - 0.5))
        )
        sand = mix(sand, color(sky[2]) * 0.95, np.float32(0.55 * (1 - near) ** 1.5))
        back = mix(back, sand, smooth(-0.003, 0.004, depth))
        crests.append(np.exp(-np.abs(depth + 0.012) * 34) * (0.4 + 0.6 * near))
    veil = np.maximum.reduce(crests)
    wind = Texture(stage.rng, power=1.5, stretch=5, coarse=5)
    dust = Motes(stage, 40, 1.3, 0.01, 0.03)

    def paint(t: float) -> Picture:
        blowing = smooth(0.40, 0.85, wind.view(stage, 0.7, -0.16 * side * t, 0.02 * t, step=4))
        low = smooth(0.5, 0.9, wind.view(stage, 0.95, -0.06 * side * t, 0.3, step=8)) * smooth(
            horizon - 0.1, 0.8, stage.y
        )
        canvas = mix(back, color("ffe6c0"), veil * blowing * 0.75 + low * 0.16)
        dust.draw(canvas, t, color("ffe0b0") * 0.25, drift=0.10 * side)
        return canvas

    return paint


def paint_clouds(stage: Stage) -> Painter:
    """Paint clouds in the sun, seen from among them."""
    skies = (("1f5aa6", "6fa6dc", "cfe4f4"), ("47578f", "d8909a", "ffd0a0"), ("2a6f9e", "8ccbd8", "f6efdc"))
    sky = skies[int(stage.place.integers(len(skies)))]
    sun = float(stage.place.uniform(-0.4, 0.4)) * stage.aspect
    back = ramp((stage.y + 1) / 2 + 0 * stage.x, *sky) + stage.glow(sun, -0.55, 0.6) * color("fff0d0") * 0.4
    layers = [Texture(stage.place, power=power, stretch=1.3, coarse=2) for power in (2.3, 2.2, 2.1)]
    white, shadow = color("fffaf2"), mix(color(sky[0]), color(sky[2]), np.float32(0.55))

    def paint(t: float) -> Picture:
        canvas = back
        for number, layer in enumerate(layers):
            size = stage.pick(1.0, 0.72, 0.5) * (0.95 - 0.2 * number)
            x = (0.010 + 0.012 * number) * t + 0.37 * number
            density = layer.view(stage, size, x, -0.002 * t, flat=0.8)
            lit = density - layer.view(stage, size, x, -0.002 * t - 0.035 * size, flat=0.8)
            level = 0.60 - 0.17 * number * smooth(-0.4, 0.9, stage.y) - 0.14 * smooth(0.2, 1.0, stage.y)
            body = smooth(-0.04, 0.24, density - level)
            shade = mix(shadow, white, np.clip(0.62 + 3.6 * lit + 0.30 * (density - level), 0, 1))
            canvas = mix(canvas, shade, body * 0.92)
        return canvas

    return paint
