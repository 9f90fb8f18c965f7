"""Scenes of rain on a window and of a fire in the dark."""

import math
from functools import cache

import numpy as np

from sandbox.painting import Field, Painter, Picture, add_light, blur, color, mix, ramp, smooth
from sandbox.stage import Motes, Stage, Texture


def paint_rain(stage: Stage, *lamps: Picture) -> Painter:
    """Paint rain that runs down a window, with the lights of a street out of focus behind it."""
    place = stage.place
    street = stage.sky(1.1, *map(color, ("0a1622", "1d3444", "22303c", "0b1016")))
    for _ in range(int(stage.pick(70, 38, 26))):
        x, y = place.uniform(-1.2, 1.2) * stage.aspect, place.normal(0.1, stage.pick(0.22, 0.36, 0.5))
        radius = place.uniform(0.5, 1.0) * stage.pick(30, 54, 80) * stage.unit
        light = lamps[int(place.integers(len(lamps)))] * np.float32(place.uniform(0.10, 0.42))
        add_light(street, *stage.pixel(x, y), radius, light, is_disc=True)
        add_light(street, *stage.pixel(x, y + 0.55), 1.6 * radius, light * 0.30)
    window = _Window(stage, blur(street, 3.0 * stage.unit))
    streaks, rain = Texture(stage.rng, power=1.1, stretch=0.07, coarse=30), color("8fa8b8") * 0.14

    def paint(t: float) -> Picture:
        canvas = streaks.view(stage, 0.55, 0.02 * t, -1.9 * t, step=3, edges=(0.66, 0.95)) * rain
        window.draw(canvas, t)
        return canvas

    return paint


@cache
def _shape_drop(radius: float, tall: float, x: float = 0.0, y: float = 0.0) -> tuple[Field, ...]:
    """Return the pixels of a drop: their rows and columns, how they bend light, their brightness and opacity."""
    reach = math.ceil(radius * tall * 1.25) + 1
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    across, down = (columns - x) / radius, (rows - y) / (radius * tall)
    angle, bump = np.arctan2(down, across), min(0.16, 0.03 * radius)
    # Large drops have uneven edges and are narrower at the top.
    edge = 1 + bump * (np.sin(2 * angle + 9 * tall) + 0.6 * np.sin(3 * angle + radius) - 0.8 * np.sin(angle))
    distance = np.hypot(across, down) * edge
    inside = distance < 1
    across, down, distance = across[inside], down[inside], distance[inside]
    bend = -2 * (5 * radius + 16) * (0.3 + distance**2)
    spark = np.exp(-((across + 0.25) ** 2 + (down + 0.35) ** 2) / 0.04) * min(0.22, radius / 25)
    light = 0.55 + 0.75 * np.clip(down + 0.45, 0, 1) + spark
    place = (rows[inside].astype(int), columns[inside].astype(int), down * bend, across * bend)
    return *place, light * 1.15, smooth(1.0, 0.62, distance) * min(0.95, 0.45 + radius / 8)


class _Window:
    """Drops on glass: each shows the street upside down; some run down and leave smaller ones."""

    def __init__(self, stage: Stage, street: Picture) -> None:
        rng, zoom = stage.rng, stage.pick(1.0, 1.3, 1.7)
        self.street, self.glass, self.unit = street, street.copy(), stage.unit * zoom
        for _ in range(int(3200 / zoom**1.5 * stage.aspect)):
            radius = min(0.9 + rng.pareto(2.1) * 0.9, 5.5)
            self._add(self.glass, rng.uniform(0, stage.width), rng.uniform(0, stage.height), radius, rng.random())
        #: Drops that run down: place, speed and size; and those that they leave, with the time when they appear.
        self.runners, self.trail = [], []
        for _ in range(int(14 / zoom * max(1, stage.aspect)) + 2):
            x, start, speed = rng.uniform(0, stage.width), rng.uniform(-1, 0.8) * stage.height, rng.uniform(24, 90)
            self.runners.append((x, start, speed * self.unit, rng.uniform(3.6, 5.5), rng.uniform(0, 6.28)))
            for y in np.arange(max(0, start), stage.height, rng.uniform(9, 15) * self.unit):
                born, left = (y - start) / (speed * self.unit), x + rng.normal(0, 1.2) * self.unit
                self.trail.append((born, left, y, rng.uniform(0.8, 2.1), rng.random()))
        self.trail.sort(reverse=True)

    def _add(self, canvas: Picture, x: float, y: float, radius: float, tall: float, *, is_exact: bool = False) -> None:
        """Draw a drop around a pixel; the shapes of drops that do not move are shared."""
        part = (round(x % 1 * 4) / 4, round(y % 1 * 4) / 4) if is_exact else ()
        radius = max(1.0, round(radius * self.unit * 2) / 2)
        rows, columns, down, across, light, opacity = _shape_drop(radius, 1 + round(tall * 3) / 8, *part)
        height, width = canvas.shape[1:]
        rows, columns = rows + int(y), columns + int(x)
        seen = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        rows, columns = rows[seen], columns[seen]
        source = np.clip(rows + down[seen], 0, height - 1).astype(int), np.clip(columns + across[seen], 0, width - 1)
        lens = self.street[:, source[0], source[1].astype(int)] * light[seen] + 0.04
        behind = canvas[:, rows, columns]
        canvas[:, rows, columns] = behind + (lens - behind) * opacity[seen]

    def draw(self, canvas: Picture, t: float) -> None:
        """Add the window at time `t`, not earlier than the last one; drops that were left stay."""
        while self.trail and self.trail[-1][0] < t:
            self._add(self.glass, *self.trail.pop()[1:])
        canvas += self.glass
        for x, start, speed, radius, phase in self.runners:
            y = start + speed * (t + 0.25 * math.sin(2 * t + phase))
            if -9 < y < canvas.shape[1] + 9:
                self._add(canvas, x + radius * self.unit * 0.3 * math.sin(y / 40), y, radius, 1.0, is_exact=True)


def paint_fire(stage: Stage, *flame: Picture) -> Painter:
    """Paint a fire of logs in the dark, with sparks."""
    place, zoom, foot = stage.place, stage.pick(1.0, 1.6, 2.5), stage.pick(0.52, 0.72, 0.86)
    body = Texture(place, power=1.7, stretch=0.55, coarse=4)
    licks = Texture(stage.rng, power=1.5, stretch=0.5, coarse=8)
    high = (foot - stage.y) / np.float32(0.62 * zoom)
    wide = stage.x / np.float32(0.30 * zoom * min(1.5, stage.aspect + 0.5))
    shape = 1.15 - np.abs(wide) ** 1.6 * (0.75 + 0.9 * np.clip(high, 0, 2)) - 0.85 * np.clip(high, 0, 3) ** 1.1
    shape = np.where(high < 0, shape + 2.6 * high, shape).astype(np.float32)
    wood, bark = _stack_logs(stage, foot, zoom), Texture(place, power=1.1, coarse=16).view(stage, 0.9)
    ground = smooth(foot - 0.02, foot + 0.25, stage.y)
    warmth = stage.glow(0, foot, 0.95 * zoom**0.5, 1.3) + 0.5 * stage.glow(0, foot - 0.4 * zoom, 1.4)
    back = warmth * (0.16 + 0.30 * ground * (0.5 + bark)) * color("ff7a30") + color("080505")
    back = mix(back, color("120805") + wood * 0.35 * bark * color("ff8a3c"), smooth(0.0, 0.2, wood))
    agility, sparks = 2.1 + 0.6 * np.clip(high, 0, 1.5), Motes(stage, 34, 1.9, -0.42, 0.03)

    def paint(t: float) -> Picture:
        flicker = np.float32(1 + 0.05 * math.sin(7.1 * t) + 0.04 * math.sin(12.7 * t + 1))
        sway = 0.05 * math.sin(1.3 * t)
        slow, fast = body.view(stage, 0.8 / zoom**0.5, sway, 0.62 * t), licks.view(stage, 0.5, 0.2 - sway, 1.05 * t)
        noise = 0.62 * slow + 0.38 * fast
        canvas = ramp(smooth(-0.05, 1.5, shape + (noise - 0.5) * agility), *flame)
        canvas += back * flicker
        sparks.draw(canvas, t, color("ffb060") * 0.8)
        return canvas

    return paint


def _stack_logs(stage: Stage, foot: float, zoom: float) -> Field:
    """Return the shading of a stack of logs, 0 where there is none."""
    shade = np.zeros((stage.height, stage.width), np.float32)
    logs = ((-0.16, 0.05, 0.35), (0.17, 0.04, -0.4), (0.0, 0.10, 0.06), (0.05, 0.0, 1.1), (-0.06, 0.01, -1.0))
    for x, y, turn in logs:
        across, down = stage.x - x * zoom, stage.y - foot - y * zoom
        along = across * math.cos(turn) + down * math.sin(turn)
        off = (down * math.cos(turn) - across * math.sin(turn)) / np.float32(0.052 * zoom)
        end = smooth(0.31 * zoom, 0.29 * zoom, np.abs(along))
        side = np.sqrt(np.clip(1 - off**2, 0, 1)) * end
        shade = np.where(side > 0, 0.15 + 0.85 * side * np.clip(0.7 - 0.5 * off, 0, 1), shade)
    return np.asarray(shade, np.float32)
