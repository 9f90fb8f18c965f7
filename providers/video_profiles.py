"""What a maker of clips can do and what it costs, by the host and the model.

The shipped profiles and kinds of server lie beside this module in `video_profiles.toml`, which also explains
how to write one's own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from providers.base import ProviderError

SHIPPED = Path(__file__).with_name("video_profiles.toml")

State = Literal["running", "completed", "failed"]
Size = Annotated[str, Field(pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")]
Usd = Annotated[Decimal, Field(ge=0, le=1000)]

#: The status words of all servers that speak this contract. Any other word means: not finished yet.
STATES: dict[str, State] = {
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
    "canceled": "failed",
    "expired": "failed",
    "deleted": "failed",
}


class ProfileError(ProviderError):
    """The settings ask for something that no profile allows."""


class Profile(BaseModel):
    """What one or more models at one or more hosts can do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: tuple[str, ...] = Field(min_length=1)
    models: tuple[str, ...] = Field(min_length=1)
    kind: str = "openai"
    #: Width x height in pixels, as sent.
    sizes: tuple[Size, ...] = Field(min_length=1)
    #: The lengths a clip can have.
    seconds: tuple[Annotated[int, Field(ge=1, le=120)], ...] = Field(min_length=1)
    #: US dollars per second of clip, by size; the key "*" is every size.
    usd_per_second: dict[str, Usd]
    encoding: Literal["multipart", "json"] = "multipart"
    #: Status words beyond those of `STATES`.
    statuses: dict[str, State] = {}
    #: How long an order may take to turn up in the list.
    patience_seconds: int = Field(120, ge=0, le=3600)
    #: How often to look at an unfinished clip.
    poll_seconds: int = Field(10, ge=1, le=600)
    #: Whether the server calls us when a clip is ready.
    webhooks: bool = True
    #: Whether `GET /videos` lists all jobs with their prompts, so that an order of unknown fate can be found.
    list_echoes_prompt: bool = True
    #: What to add to the address of a clip's file.
    content_query: dict[str, str] = {}
    #: The day on which the model was or will be switched off.
    shutdown: date | None = None

    @field_validator("usd_per_second", mode="before")
    @classmethod
    def _one_price_for_all(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"*": value}

    @model_validator(mode="after")
    def _all_sizes_priced(self) -> Self:
        if strange := self.usd_per_second.keys() - {"*", *self.sizes}:
            raise ValueError(f"there is a price for {', '.join(sorted(strange))}, which is not among the sizes")
        if "*" not in self.usd_per_second and (unpriced := set(self.sizes) - self.usd_per_second.keys()):
            raise ValueError(f"there is no price for {', '.join(sorted(unpriced))}")
        return self

    def price(self, seconds: int, size: str) -> Decimal:
        """US dollars for one clip. Raises ProfileError for a clip that cannot be ordered."""
        self.check(seconds, size)
        return self.usd_per_second.get(size, self.usd_per_second.get("*", Decimal(0))) * seconds

    def check(self, seconds: int, size: str) -> None:
        """Raise ProfileError, in one sentence, for a length or size that cannot be ordered."""
        if seconds not in self.seconds:
            allowed = ", ".join(str(each) for each in self.seconds)
            raise ProfileError(
                "video_seconds_unsupported",
                f"{self.models[0]} makes clips of {allowed} seconds, not {seconds}.",
            )
        if size not in self.sizes:
            raise ProfileError(
                "video_size_unsupported",
                f"{self.models[0]} makes clips of {', '.join(self.sizes)}, not {size}.",
            )

    def state(self, word: object) -> State:
        """What a status word of the server means."""
        known = STATES | {name.lower(): state for name, state in self.statuses.items()}
        return known.get(word.lower(), "running") if isinstance(word, str) else "running"


class VideoModel:
    """The model that makes the clips, and what it can do."""

    def __init__(self, model: str, profile: Profile) -> None:
        self.model = model
        self.profile = profile

    def price(self, seconds: int, size: str) -> Decimal:
        """US dollars for one clip. Raises ProfileError for a clip that cannot be ordered."""
        return self.profile.price(seconds, size)

    def check(self, seconds: int, size: str) -> None:
        """Raise ProfileError, in one sentence, for a length or size that cannot be ordered."""
        self.profile.check(seconds, size)


def load_profiles(extra: Path | None = None) -> list[Profile]:
    """The profiles of the file `extra`, if any, and then the shipped ones.

    Raises ProfileError (`video_profiles_invalid`) naming file and place.
    """
    shipped = _read(SHIPPED)
    kinds = shipped.pop("kinds")
    return [*(_parse(extra, _read(extra), kinds) if extra else []), *_parse(SHIPPED, shipped, kinds)]


def profile_for(profiles: Sequence[Profile], base_url: str, model: str, today: date) -> Profile:
    """The profile for `model` at `base_url`: the first that names the host, else the first for any host.

    Raises ProfileError for a model that nothing is known about and for one past its shutdown date.
    """
    parts = urlsplit(base_url)
    names = {parts.netloc.rpartition("@")[2].lower(), (parts.hostname or "").lower()}
    known = [profile for profile in profiles if model in profile.models]
    for here in (
        *(p for p in known if names & {h.lower() for h in p.hosts}),
        *(p for p in known if "*" in p.hosts),
    ):
        if here.shutdown and today >= here.shutdown:
            raise ProfileError(
                "video_model_shut_down",
                f"The video model {model} at {parts.hostname} was shut down on {here.shutdown.isoformat()}: "
                "choose another base URL or model.",
            )
        return here
    raise ProfileError(
        "video_model_unknown",
        f"Nothing is known about the video model {model} at {parts.hostname}: add a [[profiles]] entry with "
        "its hosts, models, sizes, seconds and usd_per_second to your video profiles file.",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _invalid(path, "", f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise _invalid(path, "", f"is not TOML: {error}") from None


def _parse(path: Path, content: dict[str, Any], kinds: dict[str, dict[str, Any]]) -> list[Profile]:
    if strange := content.keys() - {"profiles"}:
        raise _invalid(path, sorted(strange)[0], "is not known here; a file holds [[profiles]]")
    entries = content.get("profiles", [])
    if not isinstance(entries, list):
        raise _invalid(path, "profiles", "must be written as [[profiles]]")
    profiles = []
    for number, entry in enumerate(entries):
        kind = entry.get("kind", "openai") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in kinds:
            raise _invalid(path, f"profiles[{number}].kind", f"is not one of {', '.join(kinds)}")
        try:
            profiles.append(Profile.model_validate({**kinds[kind], **entry}))
        except ValidationError as error:
            first = error.errors()[0]
            place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
            raise _invalid(path, f"profiles[{number}]{place}", first["msg"]) from None
    return profiles


def _invalid(path: Path, place: str, problem: str) -> ProfileError:
    return ProfileError("video_profiles_invalid", f"{path.name}: {place} {problem}.".replace("  ", " "))
