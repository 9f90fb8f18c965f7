"""Scene of a city at night above water."""

import numpy as np

from sandbox.painting import Field, Painter, Picture, add_light, blur, color, mix, smooth
from sandbox.stage import Stage, Texture


def paint_city(stage: Stage, *sky_colors: Picture) -> Painter:
    """Paint a city at night above water, with lit windows, haze and the lights of traffic."""
    place, zoom, scale, water = stage.place, stage.pick(1.0, 1.5, 2.3), stage.unit, stage.pick(0.42, 0.58, 0.70)
    back, top = stage.sky(water, *sky_colors), round(stage.pixel(0, water)[1])
    for layer, softness in enumerate((2.0, 1.1, stage.pick(0.7, 1.2, 2.6))):
        row, windows = _build_row(stage, top, (0.95, 0.75, 0.5)[layer] * zoom**0.45, layer, zoom * scale)
        haze = smooth(water - 0.9, water, stage.y) * (0.55 - 0.17 * layer)
        body = mix(mix(sky_colors[1], color("0b0e1a"), 0.30 + 0.30 * layer), sky_colors[2] * 0.8, haze)
        windows = blur(windows, softness * scale)
        back = mix(back, body, blur(row, softness * scale)) + windows + blur(windows, 10 * scale) * 1.1
    tints = [color(code) for code in ("ffb45e", "ffd9a0", "ff5e4c", "9fd0ff")]
    lights = [
        (place.uniform(-1.2, 1.2), water - place.uniform(0, 0.05), place.uniform(-0.09, 0.09), tints[number % 4])
        for number in range(int(stage.pick(26, 22, 18)))
    ]
    ripples, below = Texture(stage.rng, power=1.4, stretch=7, coarse=10), np.arange(stage.height - top)[:, None]
    deep = (below / below.size).astype(np.float32)
    source, strength = (top - 2 - below * 1.15).astype(np.float32), (70 * scale * (0.25 + deep)).astype(np.float32)
    tall, size = blur(back[:, :top], 2.5 * scale), stage.pick(2.8, 7, 15) * scale
    columns, fade, dark = np.arange(stage.width, dtype=np.int32), 0.62 - 0.30 * deep, sky_colors[0] * 0.25

    def paint(t: float) -> Picture:
        canvas = back.copy()
        shift = (ripples.view(stage, 0.45, 0.02 * t, 0.10 * t)[top:] - 0.5) * strength
        pixels = np.clip(source - shift, 0, top - 1).astype(np.intp) * stage.width + columns
        canvas[:, top:] = tall.reshape(3, -1).take(pixels, axis=1, mode="clip") * fade + dark
        for x, y, speed, tint in lights:
            across = ((x + speed * t + 1.2) % 2.4 - 1.2) * stage.aspect
            add_light(canvas, *stage.pixel(across, y), size, tint * 0.55, is_disc=size > 4)
        return canvas

    return paint


def _build_row(stage: Stage, bottom: int, tall: float, layer: int, scale: float) -> tuple[Field, Picture]:
    """Return the mask of a row of buildings and the light of their windows."""
    rng, mask = stage.place, np.zeros((stage.height, stage.width), np.float32)
    windows, x = np.zeros((3, stage.height, stage.width), np.float32), -10
    tints = np.stack([color(code)[:, 0, 0] for code in ("ffca80", "ffe2b0", "ffb060", "bfe0ff")])
    gap = max(3, round((3.4 + layer) * scale))
    while x < stage.width:
        wide, high = rng.uniform(26, 62) * (0.7 + 0.3 * layer) * scale, rng.uniform(0.35, 1.0) ** 1.5 * tall
        top, left, right = max(0, bottom - int(high * stage.height / 2)), max(0, x), min(stage.width, x + int(wide))
        mask[top:bottom, left:right] = 1
        shape = max(0, (bottom - top) // gap - 1), max(0, (right - left) // gap - 1)
        lit = tints[rng.integers(4, size=shape)] * rng.uniform(0.3, 1.2, (*shape, 1)) * (rng.random((*shape, 1)) < 0.3)
        pane = np.zeros((gap, gap), np.float32)
        pane[: max(1, gap // 2), gap // 2 :] = 1
        grid = np.stack([np.kron(lit[:, :, channel], pane) for channel in range(3)])
        windows[:, top + gap : top + gap + grid.shape[1], left : left + grid.shape[2]] = grid
        x += int(wide) + int(rng.uniform(-4, 6) * scale)
    return mask, windows
