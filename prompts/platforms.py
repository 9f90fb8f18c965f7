"""The platforms that a film can be posted to, and what each of them takes.

Sources, read in November 2026:
- lengths of texts and titles: docs.upload-post.com/resources/character-limits; X counts by the weights of its
  twitter-text library, Bluesky and Telegram by their API documentation;
- YouTube, resource `videos` of the Data API: neither `<` nor `>` in a title or description, 5,000 bytes;
- hashtags: TikTok and Instagram take five (both since 2025); YouTube ignores all of them above 15;
- page, board and subreddit: docs.upload-post.com/api/upload-video and the package `upload-post` 2.13.0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _utf8_bytes(text: str) -> int:
    return len(text.encode())


def _x_weight(text: str) -> int:
    return sum(1 if character < "\u1100" or "\u2000" <= character <= "\u2037" else 2 for character in text)


@dataclass(frozen=True)
class Platform:
    """The limits of a platform.

    Attributes:
        text: The most that caption and hashtags may have together, as `measure` counts.
        hashtags: The most hashtags that it takes; None without a limit.
        title: The most characters of a title of its own; None if the platform shows no title.
        refused: Characters that it refuses in title and text.
        destination: The field of a post that names its page, board or subreddit; None if the account is enough.
        measure: Returns the length of a text as the platform counts it.
    """

    text: int
    hashtags: int | None = None
    title: int | None = None
    refused: str = ""
    destination: str | None = None
    measure: Callable[[str], int] = _utf16_units


PLATFORMS: Mapping[str, Platform] = {
    "tiktok": Platform(2_200, hashtags=5),
    "youtube": Platform(5_000, hashtags=15, title=100, refused="<>", measure=_utf8_bytes),
    "instagram": Platform(2_200, hashtags=5),
    "facebook": Platform(63_206, destination="facebook_page_id"),
    "linkedin": Platform(3_000),
    "x": Platform(280, measure=_x_weight),
    "threads": Platform(500),
    "pinterest": Platform(500, title=100, destination="pinterest_board_id"),
    "reddit": Platform(300, destination="subreddit"),
    "bluesky": Platform(300),
    "discord": Platform(2_000),
    "telegram": Platform(1_024),
    "google_business": Platform(1_500),
}


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
