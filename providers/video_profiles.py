"""Capabilities and prices of video models, by host and model; `video_profiles.toml` has them, and their format."""

import re
import tomllib
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator

from prompts.validation import describe_errors
from providers.base import ProviderError

BUILT_IN_PROFILES = Path(__file__).with_name("video_profiles.toml")

JobState = Literal["running", "completed", "failed"]


Host = Annotated[str, StringConstraints(to_lower=True)]
Size = Annotated[str, Field(pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")]
Usd = Annotated[Decimal, Field(ge=0, le=1000)]

#: The final statuses of all servers that implement this contract. Any other status means that the job is running.
FINAL_STATUSES: dict[str, JobState] = {
    "completed": "completed",
    **dict.fromkeys(("failed", "cancelled", "canceled", "expired", "deleted"), "failed"),
}


class ProfileError(ProviderError):
    """The settings request something that no profile supports."""


class Profile(BaseModel, extra="forbid", frozen=True):
    """The capabilities and prices of one or more models at one or more hosts."""

    models: tuple[str, ...] = Field(min_length=1)
    hosts: tuple[Host, ...] = Field(min_length=1)
    kind: str = "openai"
    #: Whether it is from the file of the settings, so that its prices are those of the owner.
    is_own: bool = False
    #: Width x height in pixels, as sent.
    sizes: tuple[Size, ...] = Field(min_length=1)
    #: The supported lengths of a clip.
    seconds: tuple[Annotated[int, Field(ge=1, le=120)], ...] = Field(min_length=1)
    #: US dollars per second of clip, by size; the key "*" means every size.
    usd_per_second: dict[str, Usd]
    #: The same for clips with sound, where that costs more.
    usd_per_second_with_sound: dict[str, Usd] = {}
    #: Whether a create decides about sound, or every clip or none has it.
    sound: Literal["choice", "always", "never", "unknown"] = "unknown"
    encoding: Literal["multipart", "json"] = "multipart"
    #: Statuses in addition to `FINAL_STATUSES`.
    statuses: dict[str, JobState] = {}
    #: Headers of a create. By default the one that forbids a LiteLLM proxy, in front of any server, to repeat it.
    create_headers: dict[str, str] = {"x-litellm-num-retries": "0"}
    #: Fields of a create in addition to the order; they need the JSON encoding.
    create_fields: dict[str, bool | int | str] = {}
    #: The input of a create at a vendor with a contract of its own; `"$name"` is replaced by a value of the order.
    input_fields: dict[str, Any] = {}
    #: The same for a clip that starts from an image, `"$image"` or, without the head of a data URI, `"$base64"`. In the
    #: open contract it is added to the create: only its names, if that is multipart. Empty: no image is taken.
    start_image: dict[str, Any] = {}
    #: The vendor's words for a resolution or a switch: `{ "720p" = "standard", "true" = "on" }`.
    words: dict[str, bool | int | str] = {}
    #: The longest prompt; the vendor cuts a longer one or refuses it.
    max_prompt_characters: int | None = Field(None, ge=1)
    #: Patterns in the error messages that the server sends before it accepts an order; case does not matter.
    not_accepted: tuple[re.Pattern[str], ...] = ()
    #: Patterns in the code and message with which moderation refuses a prompt; case does not matter.
    moderation: tuple[re.Pattern[str], ...] = ()
    #: The time within which a submitted order appears in the list.
    lookup_window_seconds: int = Field(120, ge=0, le=3600)
    #: The pause between two polls of an unfinished clip. By default it depends on whether webhooks are configured.
    poll_seconds: int | None = Field(None, ge=1, le=600)
    #: Whether the server sends a webhook when a clip is finished.
    webhooks: bool = True
    #: Whether `GET /videos` lists all jobs with their prompts, so that an order of unknown outcome can be looked up.
    list_echoes_prompt: bool = True
    #: Whether `GET /videos` lists all jobs at all, with time, model, size and length.
    list_shows_jobs: bool = True
    #: How long the provider stores a finished clip at least.
    result_lifetime_hours: int | None = Field(None, ge=1)
    #: Whether the server forgets its jobs when it restarts.
    forgets_jobs: bool = False
    #: Where a person can look for a video if the list proves nothing.
    console: str = "the console of the vendor"
    #: Query parameters for the URL of a clip's file.
    content_query: dict[str, str] = {}
    #: Whether the server stores its clips elsewhere, as SGLang does with cloud storage: it then needs `file_hosts`.
    files_elsewhere: bool = False
    #: Hosts with https and public addresses from which clips may be downloaded; `*` in one matches any text.
    file_hosts: tuple[Host, ...] = ()
    #: The same for hosts that can have private addresses and plain http; without `*`.
    private_file_hosts: tuple[Host, ...] = ()
    #: The day on which the prices were those of the vendor.
    priced_on: date | None = None
    #: The day on which the model was or will be shut down.
    shutdown: date | None = None

    @field_validator("usd_per_second", "usd_per_second_with_sound", mode="before")
    @classmethod
    def _expand_single_price(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"*": value}

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.create_fields and self.encoding != "json":
            raise ValueError('create_fields need encoding = "json"')
        if unknown := (self.usd_per_second.keys() | self.usd_per_second_with_sound.keys()) - {"*", *self.sizes}:
            raise ValueError(f"there is a price for {', '.join(sorted(unknown))}, which is not among the sizes")
        if "*" not in self.usd_per_second and (unpriced := set(self.sizes) - self.usd_per_second.keys()):
            raise ValueError(f"there is no price for {', '.join(sorted(unpriced))}")
        return self

    @property
    def model(self) -> str:
        """Return the model that `profile_for` was asked for."""
        return self.models[0]

    def price(self, seconds: int, size: str, *, with_sound: bool = False) -> Decimal:
        """Return the price of one clip in US dollars. Raises ProfileError for an unsupported clip."""
        if refusal := self.refusal(seconds, size):
            raise refusal
        prices = self.usd_per_second | (self.usd_per_second_with_sound if with_sound else {})
        return prices.get(size, prices.get("*", Decimal(0))) * seconds

    def choose_sound(self, sound: bool | None) -> bool | None:
        """Return whether a clip has sound if this is requested; None if that is not known.

        Raises ProfileError for a request that the model cannot satisfy.
        """
        fixed = {"always": True, "never": False}.get(self.sound)
        if fixed is not None and sound not in (None, fixed):
            message = f"The clips of {self.model} {'always' if fixed else 'never'} have sound."
            raise ProfileError("video_sound_unsupported", message)
        return (sound is not False) if self.sound == "choice" else fixed

    def refusal(self, seconds: int, size: str) -> ProfileError | None:
        """Return why clips of this length and size cannot be generated or fetched, or None if they can."""
        if seconds not in self.seconds:
            message = f"{self.model} generates clips of {', '.join(map(str, self.seconds))} seconds, not {seconds}."
            return ProfileError("video_seconds_unsupported", message)
        if size not in self.sizes:
            message = f"{self.model} generates clips of {', '.join(self.sizes)}, not {size}."
            return ProfileError("video_size_unsupported", message)
        if self.files_elsewhere and not (self.file_hosts or self.private_file_hosts):
            message = f"The clips of {self.model} are stored elsewhere: name the host as `file_hosts` in its profile."
            return ProfileError("video_files_unfetchable", message)
        return None

    @property
    def lookup_proof(self) -> str:
        """Return what a lookup can prove about an order of unknown outcome, as a sentence for a person."""
        forgets = " It forgets its jobs when it restarts." if self.forgets_jobs else ""
        if self.list_echoes_prompt and self.list_shows_jobs:
            return f"The server lists its videos with their prompts: one that it accepted is in its list.{forgets}"
        if self.list_shows_jobs:
            return (
                "The server lists its videos without prompts, which proves nothing: compare time, size and length,"
                f" and look in {self.console}.{forgets}"
            )
        return f"The server has no list that proves anything: look in {self.console}."

    def is_accepted(self, message: str) -> bool:
        """Return whether the server may have accepted an order that it answered with this error message."""
        return not any(re.search(pattern.pattern, message, re.IGNORECASE) for pattern in self.not_accepted)

    def is_moderation(self, code: str, message: str) -> bool:
        """Return whether a failure with this code and message means that moderation refused the prompt."""
        text = f"{code} {message}"
        return any(re.search(pattern.pattern, text, re.IGNORECASE) for pattern in self.moderation)

    def job_state(self, status: object) -> JobState:
        """Return the state of a job with this status of the server."""
        states = FINAL_STATUSES | {name.lower(): state for name, state in self.statuses.items()}
        return states.get(status.lower(), "running") if isinstance(status, str) else "running"


def load_profiles(extra: Path | None = None) -> list[Profile]:
    """Return the profiles of the file `extra`, if any, and the built-in ones. Raises `video_profiles_invalid`."""
    built_in = _read_toml(BUILT_IN_PROFILES)
    kinds = built_in.pop("kinds")
    own = _parse_profiles(extra, _read_toml(extra), kinds) if extra else []
    own = [each.model_copy(update={"is_own": True}) for each in own]
    return [*own, *_parse_profiles(BUILT_IN_PROFILES, built_in, kinds)]


def profile_for(profiles: Sequence[Profile], base_url: str, model: str, today: date) -> Profile:
    """Return the profile for `model` alone at a server with the open contract: the first for its host, or for any.

    Raises ProfileError for an unknown model and for one that was shut down.
    """
    parts = urlsplit(base_url)
    host, hosts = parts.hostname, {parts.netloc.rpartition("@")[2].lower(), parts.hostname or ""}
    open_contract = [each for each in profiles if model in each.models and not each.input_fields]
    known = [each for each in open_contract if not {*hosts, "*"}.isdisjoint(each.hosts)]
    profile = min(known, key=lambda each: hosts.isdisjoint(each.hosts), default=None)
    if profile is None:
        raise ProfileError(
            "video_model_unknown",
            f"Nothing is known about the video model {model} at {host}. Add a [[profiles]] entry with "
            "its hosts, models, sizes, seconds and usd_per_second to your video profiles file.",
        )
    if profile.shutdown and today >= profile.shutdown:
        raise ProfileError(
            "video_model_shut_down",
            f"The video model {model} at {host} was shut down on {profile.shutdown.isoformat()}. "
            "Choose another base URL or model.",
        )
    return profile.model_copy(update={"models": (model,)})


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _invalid_file(path, f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise _invalid_file(path, f"is not TOML: {error}") from None


def _parse_profiles(path: Path, content: dict[str, Any], kinds: dict[str, dict[str, Any]]) -> list[Profile]:
    if unknown := content.keys() - {"profiles"}:
        raise _invalid_file(path, f"{min(unknown)} is unknown; only [[profiles]] is allowed")
    entries = content.get("profiles", [])
    if not isinstance(entries, list):
        raise _invalid_file(path, "profiles must be written as [[profiles]]")
    profiles = []
    for number, entry in enumerate(entries):
        field = f"profiles[{number}]"
        kind = entry.get("kind", "openai") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in kinds:
            raise _invalid_file(path, f"{field}.kind is not one of {', '.join(kinds)}")
        try:
            profiles.append(Profile.model_validate({**kinds[kind], **entry}))
        except ValidationError as error:
            raise _invalid_file(path, describe_errors(error.errors(), root=field)) from None
    return profiles


def _invalid_file(path: Path, problem: str) -> ProfileError:
    return ProfileError("video_profiles_invalid", f"{path.name}: {problem}.")
