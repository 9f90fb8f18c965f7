"""The platforms that a film can be posted to, with the limits in `platforms.toml`."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, TypeAdapter


class Platform(BaseModel, extra="forbid", frozen=True):
    """The limits of a platform; None where it has none."""

    #: The most that caption and hashtags may have together, counted in `unit`.
    text: int
    unit: Literal["UTF-16 units", "UTF-8 bytes", "weights of X"] = "UTF-16 units"
    hashtags: int | None = None
    #: The most characters of a title of its own; None if the platform shows no title.
    title: int | None = None
    #: Characters that it refuses in title and text.
    refused: str = ""
    #: The flag of Upload-Post that labels a film on it as generated; empty if it takes none.
    ai_flag: str = ""
    #: The field of a post that names its page, board or subreddit; None if the account is enough.
    destination: str | None = None

    def measure(self, text: str) -> int:
        """Return the length of a text as the platform counts it."""
        match self.unit:
            case "UTF-16 units":
                return len(text.encode("utf-16-le")) // 2
            case "UTF-8 bytes":
                return len(text.encode())
        return sum(1 if character < "\u1100" or "\u2000" <= character <= "\u2037" else 2 for character in text)


_LIMITS = tomllib.loads((Path(__file__).parent / "platforms.toml").read_text(encoding="utf-8"))
PLATFORMS: Mapping[str, Platform] = TypeAdapter(dict[str, Platform]).validate_python(_LIMITS)


def platform_problem(platforms: list[str], destinations: Mapping[str, str]) -> str | None:
    """Return why a film cannot be posted to these platforms, or None. `destinations` are named by platform."""
    for name in platforms:
        if name not in PLATFORMS:
            return f"platforms: {name[:60]!r} is unknown; choose from {', '.join(PLATFORMS)}"
        if PLATFORMS[name].destination and not destinations.get(name, "").strip():
            noun = str(PLATFORMS[name].destination).removesuffix("_id").replace("_", " ")
            return f"destinations: {name} needs the {noun} to post to, as in `destinations: {{{name}: …}}`"
    if len(set(platforms)) < len(platforms):
        return "platforms: each may be named once"
    for name in destinations:
        if name not in platforms or not PLATFORMS[name].destination:
            return f"destinations: {name[:60]!r} is no platform of this project that needs one"
    return None
