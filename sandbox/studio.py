"""Painters by the name of their scene."""

from collections.abc import Callable
from functools import partial

from sandbox.card import paint_card
from sandbox.painting import Painter, Stage
from sandbox.places import paint_city, paint_clouds, paint_desert, paint_stars
from sandbox.rain_and_fire import paint_fire, paint_rain
from sandbox.scene_words import SceneChoice
from sandbox.scenes import paint_forest, paint_sea, paint_snow, paint_underwater
from sandbox.still_life import HOT, paint_object

#: Each scene is painted at a resolution so many times lower than the picture: what is soft needs few pixels.
PAINTERS: dict[str, tuple[Callable[[Stage], Painter], int]] = {
    "rain": (paint_rain, 2),
    "sea": (paint_sea, 2),
    "snow": (paint_snow, 2),
    "fire": (paint_fire, 3),
    "forest": (paint_forest, 3),
    "stars": (paint_stars, 2),
    "city": (paint_city, 2),
    "desert": (paint_desert, 2),
    "clouds": (paint_clouds, 3),
    "underwater": (paint_underwater, 3),
}


def choose_painter(choice: SceneChoice) -> tuple[Callable[[Stage], Painter], int]:
    """Return what paints the scene, and how many times lower its resolution is than that of the picture."""
    if choice.scene == "card":
        return partial(paint_card, subject=choice.subject), 3
    if choice.scene in PAINTERS:
        return PAINTERS[choice.scene]
    name = "cup" if choice.scene == "steam" else choice.scene
    return partial(paint_object, form_name=name, tint=choice.tint, is_hot=name in HOT), 2
