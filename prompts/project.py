"""Projects: Markdown files with the production spec in the front matter and the creative direction in the body."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from prompts.film_limits import MAX_FILM_SECONDS, MIN_FILM_SECONDS
from prompts.look import Look
from prompts.platforms import platform_problem
from prompts.validation import describe_errors

FOLDER = Path(__file__).parent / "projects"

MAX_CLIPS = 24

#: The compositions of the render service, each with the texts and the colour that `look` can set: those of
#: `COMPOSITIONS` in remotion/src/schema.ts.
COMPOSITIONS: Mapping[str, Mapping[str, str]] = {
    "shorts": {"title": ".{0,120}", "kicker": ".{0,40}", "end": ".{0,80}", "accent": "#[0-9a-fA-F]{6}"},
    "aismr": {"title": ".{0,120}", "accent": "#[0-9a-fA-F]{6}"},
}

#: Names that `options` of a request can contain, if the project file declares bounds for them.
OPTIONS = ("clips", "clip_seconds")


class ProjectError(ValueError):
    """A project file is invalid; the message names the file and the place."""


class OptionError(ValueError):
    """An option of a request does not fit the project; the message names the option and the reason."""


class Bounds(BaseModel, extra="forbid", frozen=True):
    """The range of whole numbers for an option, both ends included."""

    minimum: int = Field(ge=1)
    maximum: int = Field(ge=1)


class Deadline(BaseModel, extra="forbid", frozen=True):
    """The time limit of a review and the action when it passes. No deadline ever approves."""

    #: Hours from the opening to the first due time, and from each due time to the next.
    due_hours: float = Field(gt=0, le=24 * 90, allow_inf_nan=False)
    on_due: Literal["remind", "escalate", "reject"] = "remind"


class VideoChoice(BaseModel, extra="forbid", frozen=True):
    """The video model of a project, as far as it names one. `resolution` is the shorter side of a clip."""

    provider: str | None = None
    model: str | None = None
    resolution: str | None = Field(None, pattern=r"^[1-9]\d{2,3}p$")
    sound: bool | None = None


class Project(BaseModel, extra="forbid", frozen=True):
    """A production spec. Lengths in seconds, sizes in pixels, money in USD."""

    name: str = Field(pattern="^[a-z0-9_-]{1,64}$")
    title: str = Field(min_length=1, max_length=80)
    summary: str = Field(min_length=1, max_length=300)
    clips: int = Field(ge=1, le=MAX_CLIPS)
    clip_seconds: int = Field(ge=1, le=60)
    clip_size: str = Field("720x1280", pattern=r"^\d{2,4}x\d{2,4}$")
    #: The clips are scaled and cropped to it. Even numbers up to 1998; a small film is a draft, which renders sooner.
    film_size: str = Field("1080x1920", pattern=r"^(1\d|[1-9])\d[02468]x(1\d|[1-9])\d[02468]$")
    #: The provider and model of the clips; by default the first that can generate them.
    video: VideoChoice | None = None
    #: Orders of a clip that fails, before the run waits for a person.
    takes: int = Field(2, ge=1, le=5)
    crossfade_seconds: float = Field(0.5, ge=0, le=5)
    #: One idea for each of these, in this order.
    subjects: list[str] = Field(default_factory=list)
    #: The voice of the speech server that narrates the clips; without one there is no narration.
    voice: str | None = Field(None, min_length=1, max_length=100)
    #: Form of the text over a clip, as an instruction for the ideator.
    overlay: str = Field("a short caption of at most 40 characters", max_length=200)
    #: Composition for a renderer that supports them; the fields of `Look` that are on, and texts and a colour for both.
    composition: str = "shorts"
    look: dict[str, bool | str] = Field(default_factory=dict)
    platforms: list[str] = Field(default_factory=lambda: ["tiktok"], min_length=1)
    #: The page, board or subreddit on the platforms that need one, by platform.
    destinations: dict[str, str] = Field(default_factory=dict)
    #: Who posts the films: `folder`, `upload_post`, or `upload_post:USER`; by default the publisher of the settings.
    publisher: str | None = None
    #: Whether a film without a valid C2PA manifest may be published.
    disclosure: Literal["required", "optional"] = "required"
    #: Caps on the cost of one run, and of all runs of the project in one day (UTC).
    budget_usd: Decimal = Field(gt=0)
    day_budget_usd: Decimal | None = Field(None, gt=0)
    options: dict[str, Bounds] = Field(default_factory=dict)
    gates: dict[Literal["ideation", "publish"], Deadline] = Field(default_factory=dict)
    direction: str = Field(min_length=1)

    @field_validator("publisher")
    @classmethod
    def _is_a_publisher(cls, name: str | None) -> str | None:
        if name and not re.fullmatch(r"folder|upload_post(:[^\s:]{1,100})?", name):
            raise ValueError(f"{name[:60]!r} is unknown; choose from folder, upload_post, upload_post:USER")
        return name or None

    @model_validator(mode="after")
    def _is_producible(self) -> Self:
        if self.clips > 1 and self.crossfade_seconds * 2 > self.clip_seconds:
            raise ValueError("crossfade_seconds: a clip must be at least two crossfades long")
        if self.subjects and len(self.subjects) < self.clips:
            raise ValueError(f"subjects: {len(self.subjects)} subjects are too few for {self.clips} clips")
        if unknown := sorted(set(self.options) - set(OPTIONS)):
            raise ValueError(f"options: {', '.join(unknown)} cannot be an option, only {', '.join(OPTIONS)}")
        if not MIN_FILM_SECONDS <= self.film_seconds <= MAX_FILM_SECONDS:
            bounds = f"{MIN_FILM_SECONDS} to {MAX_FILM_SECONDS} s"
            raise ValueError(f"the film would be {self.film_seconds:g} s long, and must be {bounds}")
        return self

    @model_validator(mode="after")
    def _can_be_made_and_posted(self) -> Self:
        if problem := platform_problem(self.platforms, self.destinations):
            raise ValueError(problem)
        if self.composition not in COMPOSITIONS:
            offered = ", ".join(COMPOSITIONS)
            raise ValueError(f"composition: {self.composition[:60]!r} is unknown; choose from {offered}")
        sides = [int(pixels) for pixels in self.clip_size.split("x")]
        if self.video and self.video.resolution not in (None, f"{min(sides)}p"):
            raise ValueError(f"video.resolution: clip_size {self.clip_size} is {min(sides)}p")
        return self

    @model_validator(mode="after")
    def _has_a_look(self) -> Self:
        texts = COMPOSITIONS.get(self.composition, {})
        names = [*texts, *Look.model_fields]
        for name, value in self.look.items():
            if name not in names:
                offered = ", ".join(names)
                raise ValueError(f"look: {name[:60]!r} is unknown in {self.composition}; choose from {offered}")
            if name in Look.model_fields and not isinstance(value, bool):
                raise ValueError(f"look.{name}: it must be true or false")
            if name in texts and not re.fullmatch(texts[name], str(value)):
                raise ValueError(f"look.{name}: it must match {texts[name]}")
        return self

    @property
    def film_look(self) -> Look:
        """Return what the embedded renderer adds to the clips."""
        return Look(**{name: value is True for name, value in self.look.items() if name in Look.model_fields})

    @property
    def look_texts(self) -> dict[str, str]:
        """Return the texts and the colour of `look`."""
        return {name: str(value) for name, value in self.look.items() if name not in Look.model_fields}

    @property
    def film_seconds(self) -> float:
        """Return the length of the finished film in seconds."""
        return self.film_seconds_of(self.clips)

    def film_seconds_of(self, clips: int) -> float:
        """Return the length in seconds of a film of this many clips."""
        return clips * self.clip_seconds - max(0, clips - 1) * self.crossfade_seconds

    def with_options(self, options: Mapping[str, Any]) -> "Project":
        """Return the project with the options of a request. Raises OptionError for an undeclared or invalid one."""
        for name, value in options.items():
            bounds = self.options.get(name)
            if bounds is None:
                offered = ", ".join(sorted(self.options)) or "none"
                raise OptionError(f"Project {self.name} has no option {name!r}; its options: {offered}.")
            if type(value) is not int or not bounds.minimum <= value <= bounds.maximum:
                raise OptionError(f"Option {name} must be a whole number from {bounds.minimum} to {bounds.maximum}.")
        try:
            return Project.model_validate({**self.model_dump(), **options})
        except ValidationError as error:
            raise OptionError(f"These options are not possible: {describe_errors(error.errors())}.") from error


def read_project(path: Path) -> Project:
    """Return the project in `path`, named after the file. Raises ProjectError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path.name}: it cannot be read as UTF-8 text.") from error
    parts = text.split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        raise ProjectError(f"{path.name}: it must start with front matter between two lines of '---'.")
    try:
        spec = yaml.load(parts[1], Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 2}" if mark else ""
        raise ProjectError(f"{path.name}{place}: the front matter is not YAML.") from error
    if not isinstance(spec, dict):
        raise ProjectError(f"{path.name}: the front matter must be a mapping of settings.")
    try:
        return Project.model_validate({**spec, "name": path.stem, "direction": parts[2].strip()})
    except ValidationError as error:
        raise ProjectError(f"{path.name}: {describe_errors(error.errors())}.") from error


def read_projects(folders: Iterable[Path]) -> dict[str, Project]:
    """Return all projects in these folders by name; later folders win. Raises ProjectError for any invalid file."""
    found = {}
    for folder in folders:
        if not folder.is_dir():
            raise ProjectError(f"{folder}: the folder of projects does not exist.")
        found.update({path.stem: read_project(path) for path in sorted(folder.glob("*.md"))})
    if not found:
        raise ProjectError("No project file found.")
    return found
