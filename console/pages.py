"""A reviewer's pages: plain HTML that works without scripts, from what the API says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

STATIC = Path(__file__).parent / "static"

#: Nothing but what this service itself gives is loaded, run, framed or sent to.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; media-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    # The address is the right to decide: it is not passed on, kept or indexed.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
}

#: The places of what is shown, as people call them; what is not named here needs no words of its own.
PLACES = {
    "title": "Title",
    "estimated_usd": "What it costs",
    "caption": "Caption",
    "hashtags": "Hashtags",
    "platforms": "Where it is posted",
    "make": "Clips to be made",
    "usd_per_clip": "Price of a clip",
    "model": "The model that makes them",
    "seconds": "Length of a clip",
    "size": "Size of a clip",
    "film.digest": "The film",
    "film.seconds": "Length of the film",
}
#: The order in which a person reads what is shown.
ORDER = ("film", "title", "caption", "hashtags", "platforms", "ideas", "scene", "sound", "overlay", "take", "clips")
#: What changes with something else that is told.
SILENT = ("takes", "clip", "notice")
VERDICTS = {"approve": "Approved", "revise": "Changes requested", "reject": "Rejected"}
HEADINGS = {
    "link_unknown": "This link does not open anything",
    "link_expired": "This link has expired",
    "link_used": "This link was used already",
    "link_over": "There is nothing left to decide here",
    "stale_review": "There is a newer revision",
    "rate_limited": "Too many requests",
}


def _when(at: datetime | str) -> str:
    parsed = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{parsed.astimezone(UTC):%a %d %b %Y, %H:%M} UTC"


def _usd(amount: Any) -> str:
    return f"{float(amount):.2f} USD"


def _place(at: str) -> str:
    """A place in words: `ideas.2.scene` is `Idea 3, scene`."""
    if at in PLACES:
        return PLACES[at]
    words = {"ideas": "Idea", "clips": "Clip", "overlay": "text over it"}
    kind, number, *rest = [*at.split("."), ""]
    if kind in words and number.isdecimal():
        return ", ".join(
            [f"{words[kind]} {int(number) + 1}", *(words.get(part, part.replace("_", " ")) for part in rest if part)]
        )
    return at.replace("_", " ").replace(".", ", ").capitalize()


def _order(at: str) -> tuple[Any, ...]:
    """Where a place comes when changes are told: as on the page, and inside a list by number."""
    return tuple(
        int(part) if part.isdecimal() else ORDER.index(part) if part in ORDER else 99 for part in at.split(".")
    )


_pages = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=True,
)
_pages.filters |= {"when": _when, "usd": _usd, "place": _place}


def review_page(review: Mapping[str, Any], *, token: str, problem: str | None = None, comment: str = "") -> str:
    """The review and the form that decides it; `problem` is what was wrong with what was sent, `comment` its text."""
    told = sorted(
        (change for change in review["changes"] if change["at"].rpartition(".")[2] not in SILENT),
        key=lambda change: _order(change["at"]),
    )
    return _page("review.html", review=review, token=token, changes=told, problem=problem, comment=comment)


def answer_page(verdict: str, message: str) -> str:
    """What came of a decision."""
    return _page("said.html", heading=VERDICTS[verdict], message=message, tone=verdict)


def refusal_page(code: str, message: str) -> str:
    """Why the link opens nothing, or nothing any more."""
    return _page("said.html", heading=HEADINGS.get(code, "That did not work"), message=message, tone="refused")


def _page(template: str, **variables: Any) -> str:
    return _pages.get_template(template).render(**variables)
