"""The scenes of the sandbox's clips by name: their painters, and their colours and profiles from scenes.toml."""

from collections.abc import Callable

from sandbox.city import paint_city
from sandbox.landscapes import paint_desert, paint_forest, paint_snow, paint_stars
from sandbox.painting import Painter, color
from sandbox.rain_and_fire import paint_fire, paint_rain
from sandbox.scene_words import SceneChoice
from sandbox.stage import Stage
from sandbox.still_life import Form, paint_card, paint_object
from sandbox.text import read_table
from sandbox.water_and_sky import paint_clouds, paint_sea, paint_underwater

_LISTS = read_table("scenes")
FORMS = {name: Form(**{**form, "radii": tuple(form["radii"])}) for name, form in _LISTS["forms"].items()}
#: Paints on a stage with the colours of the scene.
PAINTERS: list[Callable[..., Painter]] = [paint_rain, paint_sea, paint_snow, paint_fire, paint_forest, paint_stars]
PAINTERS += [paint_city, paint_desert, paint_clouds, paint_underwater]
PLACES = {painter.__name__.removeprefix("paint_"): painter for painter in PAINTERS}
#: The resolution of a clip by that of its canvas, which is finer for scenes of fine things; 3 for all others.
DOWNSCALE = {"rain": 2.5, "stars": 2, "city": 2.4, "clouds": 4}


def paint_scene(stage: Stage, choice: SceneChoice) -> Painter:
    """Return what paints the chosen scene on this stage."""
    lists = _LISTS["colors"]["object" if choice.scene in FORMS else choice.scene]
    colors = [color(code) for code in lists[stage.shot.place % len(lists)].split()]
    if choice.scene in FORMS:
        return paint_object(stage, FORMS[choice.scene], choice.tint, *colors)
    if choice.scene == "card":
        return paint_card(stage, choice.subject, *colors)
    return PLACES[choice.scene](stage, *colors)
