"""Scenes of rain on a window and of a fire in the dark."""

import math

import numpy as np

from sandbox.painting import Field, Motes, Painter, Picture, Stage, Texture, add_light, blur, color, mix, ramp, smooth

#: Lights of a wet street at night; a place has two of these lists.
LAMPS = (
    ("ffb45e", "ff8a3c", "ffd9a0"),
    ("6fd0ff", "4a8cff", "b0e6ff"),
    ("ff5e6c", "ffb45e", "ffe0b0"),
    ("5effc0", "ffd27a"),
)
FLAME = ("000000", "3a0600", "a82400", "f07014", "ffc04a", "fff0c0")


def paint_rain(stage: Stage) -> Painter:
    """Paint rain that runs down a window, with the lights of a street out of focus behind it."""
    place, rng, scale = stage.place, stage.rng, stage.height / 740
    base = ramp((stage.y + 1) / 2 + 0 * stage.x, "0a1622", "1d3444", "22303c", "0b1016")
    lamps = [lamp for kind in place.choice(len(LAMPS), 2, replace=False) for lamp in LAMPS[kind]]
    for _ in range(int(stage.pick(70, 38, 26))):
        x, y = place.uniform(-1.2, 1.2) * stage.aspect, place.normal(0.1, stage.pick(0.22, 0.36, 0.5))
        radius = place.uniform(0.5, 1.0) * stage.pick(30, 54, 80) * scale
        light = color(str(place.choice(lamps))) * np.float32(place.uniform(0.10, 0.42))
        add_light(base, *stage.sharp(x, y), radius, light, is_disc=True)
        add_light(base, *stage.sharp(x, y + 0.55), 1.6 * radius, light * 0.30)
    base = blur(base, 3.0 * scale)
    drops = _WindowDrops(stage, scale)
    streaks = Texture(rng, power=1.1, stretch=0.07, coarse=30)

    def paint(t: float) -> Picture:
        falling = streaks.view(stage, 0.55, 0.02 * t, -1.9 * t) + streaks.view(stage, 0.3, 0.4, -2.6 * t)
        canvas = base + smooth(1.22, 1.75, falling) * color("8fa8b8") * 0.20
        drops.draw(canvas, base, t)
        return canvas

    return paint


class _WindowDrops:
    """Drops on glass: each shows the picture behind it upside down; some run down and leave smaller ones."""

    def __init__(self, stage: Stage, scale: float) -> None:
        rng, self.shape = stage.rng, (stage.height, stage.width)
        zoom = stage.pick(1.0, 1.5, 2.3)
        scale, count = scale * zoom, int(4200 / zoom**1.5 * stage.aspect)
        radii = np.minimum(0.9 + rng.pareto(1.9, count) * 0.9, 8.5) * scale
        drops = [(rng.uniform(0, stage.width), rng.uniform(0, stage.height), radius, -1.0) for radius in radii]
        self.runners = []
        for _ in range(int(16 / zoom * max(1, stage.aspect)) + 2):
            x, speed, start = rng.uniform(0, stage.width), rng.uniform(24, 90) * scale, rng.uniform(-1.0, 0.8)
            self.runners.append((x, speed, start * stage.height, rng.uniform(4.5, 7.5) * scale, rng.uniform(0, 6.28)))
            for y in np.arange(max(0, start) * stage.height, stage.height, rng.uniform(7, 13) * scale):
                born = self._time_at(y - start * stage.height, speed)
                drops.append((x + rng.normal(0, 1.2 * scale), y, rng.uniform(0.8, 2.3) * scale, born))
        drops.sort(key=lambda drop: drop[3])
        parts = [self._pixels(x, y, radius, rng.uniform(0.9, 1.35)) for x, y, radius, _ in drops]
        self.born = np.repeat([drop[3] for drop in drops], [len(part[0]) for part in parts])
        self.where, self.source, self.shade, self.spark = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )

    def _time_at(self, distance: float, speed: float) -> float:
        return max(0.0, distance / speed)

    def _pixels(self, x: float, y: float, radius: float, tall: float) -> tuple[Field, ...]:
        """Return the pixels of a drop, those that it shows, its shading and its highlight."""
        height, width = self.shape
        reach = math.ceil(radius * tall) + 1
        rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        dx, dy = (columns + (int(x) - x)) / radius, (rows + (int(y) - y)) / (radius * tall)
        distance = dx**2 + dy**2
        row, column = rows.astype(int) + int(y), columns.astype(int) + int(x)
        inside = (distance < 1) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        dx, dy, distance, row, column = (part[inside] for part in (dx, dy, distance, row, column))
        bend = np.float32(5 * radius + 16) * (0.3 + distance)
        from_row = np.clip(row - dy * bend * 2, 0, height - 1).astype(np.int32)
        from_column = np.clip(column - dx * bend * 2, 0, width - 1).astype(np.int32)
        spark = np.exp(-((dx + 0.30) ** 2 + (dy + 0.40) ** 2) / 0.03) * min(0.6, radius / 9)
        shade = (0.52 + 0.75 * np.clip(dy + 0.45, 0, 1)) * smooth(1.02, 0.55, distance) + 0.30
        return row * width + column, from_row * width + from_column, shade, spark.astype(np.float32)

    def draw(self, canvas: Picture, base: Picture, t: float) -> None:
        """Draw the drops that exist at time `t` onto the canvas; they bend the picture `base`."""
        end = int(np.searchsorted(self.born, t, side="right"))
        flat, behind = canvas.reshape(3, -1), base.reshape(3, -1)
        where, source, shade, spark = (part[:end] for part in (self.where, self.source, self.shade, self.spark))
        for channel in range(3):
            flat[channel, where] = behind[channel, source] * shade * 1.35 + spark * 0.5
        for x, speed, start, radius, phase in self.runners:
            y = start + speed * t + 0.25 * speed * math.sin(2 * t + phase)
            if y > -radius and y < self.shape[0]:
                where, source, shade, spark = self._pixels(x + radius * 0.3 * math.sin(y / 40), y, radius, 1.4)
                for channel in range(3):
                    flat[channel, where] = behind[channel, source] * shade * 1.5 + spark * 0.8


def paint_fire(stage: Stage) -> Painter:
    """Paint a fire of logs in the dark, with sparks."""
    place, zoom = stage.place, stage.pick(1.0, 1.6, 2.5)
    foot = stage.pick(0.52, 0.72, 0.86)
    body, licks = (
        Texture(place, power=1.7, stretch=0.55, coarse=4),
        Texture(stage.rng, power=1.5, stretch=0.5, coarse=8),
    )
    high = (foot - stage.y) / np.float32(0.62 * zoom)
    wide = stage.x / np.float32(0.30 * zoom * min(1.5, stage.aspect + 0.5))
    shape = 1.15 - np.abs(wide) ** 1.6 * (0.75 + 0.9 * np.clip(high, 0, 2)) - 0.85 * np.clip(high, 0, 3) ** 1.1
    shape = np.where(high < 0, shape + 2.6 * high, shape).astype(np.float32)
    wood, bark = _stack_logs(stage, foot, zoom), Texture(place, power=1.1, coarse=16).view(stage, 0.9)
    ground = smooth(foot - 0.02, foot + 0.25, stage.y)
    warmth = stage.glow(0, foot, 0.95 * zoom**0.5, 1.3) + 0.5 * stage.glow(0, foot - 0.4 * zoom, 1.4)
    back = warmth * (0.16 + 0.30 * ground * (0.5 + bark)) * color("ff7a30") + color("080505")
    wood_picture = color("120805") + wood * 0.35 * bark * color("ff8a3c")
    cracks = smooth(0.10, 0.0, np.abs(Texture(place, power=1.4, coarse=10).view(stage, 0.8) - 0.5)) * wood
    sparks = Motes(stage, 34, 1.9, -0.42, 0.03)

    def paint(t: float) -> Picture:
        flicker = np.float32(1 + 0.06 * math.sin(7.1 * t) + 0.05 * math.sin(12.7 * t + 1) + 0.03 * math.sin(23 * t))
        sway = 0.05 * math.sin(1.3 * t)
        noise = 0.62 * body.view(stage, 0.8 / zoom**0.5, sway, 0.62 * t) + 0.38 * licks.view(
            stage, 0.5, 0.2 - sway, 1.05 * t
        )
        heat = shape + (noise - 0.5) * (2.1 + 0.6 * np.clip(high, 0, 1.5))
        flames = ramp(smooth(-0.05, 1.5, heat), *FLAME)
        canvas = back * flicker
        embers = cracks * (noise * warmth) * color("ff5a18")
        canvas = mix(canvas, wood_picture * flicker + embers, wood > 0) + flames
        sparks.draw(canvas, t, color("ffb060") * 0.8)
        return canvas

    return paint


def _stack_logs(stage: Stage, foot: float, zoom: float) -> Field:
    """Return the shading of a stack of logs, 0 where there is none."""
    shade = np.zeros((stage.height, stage.width), np.float32)
    for x, y, turn in (
        (-0.16, 0.05, 0.35),
        (0.17, 0.04, -0.4),
        (0.0, 0.10, 0.06),
        (0.05, 0.0, 1.1),
        (-0.06, 0.01, -1.0),
    ):
        across, down = stage.x - x * zoom, stage.y - foot - y * zoom
        along = across * math.cos(turn) + down * math.sin(turn)
        off = (down * math.cos(turn) - across * math.sin(turn)) / np.float32(0.052 * zoom)
        round_side = np.sqrt(np.clip(1 - off**2, 0, 1)) * (np.abs(along) < 0.30 * zoom)
        shade = np.where(round_side > 0, 0.15 + 0.85 * round_side * np.clip(0.7 - 0.5 * off, 0, 1), shade)
    return np.asarray(shade, np.float32)
