"""The pages of the console, and those of a reviewer's link, which work without scripts."""

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from console.sessions import Session
from graph.graph import SUCCESSORS
from graph.status import Status
from prompts.platforms import PLATFORMS
from providers.publications.post import fit_title, post_text
from runs.links import VERDICT_PHRASES
from runs.reviews import Change
from storage.troubles import name_of

STATIC, TEMPLATES = Path(__file__).parent / "static", Path(__file__).parent / "templates"
#: The page that shows the API description.
DOCS_PAGE = TEMPLATES / "docs.html"

#: The services that the sandbox replaces, which every page of the request names.
SANDBOX_SERVICES = ContextVar[Sequence[str]]("sandbox_services", default=())

#: Browsers load, run, frame and submit to nothing but this service.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; media-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    # The URL grants the right to decide: it must not be passed on, cached or indexed.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
}

_WITH_SCRIPTS = HEADERS["Content-Security-Policy"] + "; script-src 'self'; connect-src 'self'"
#: Pages of the console: scripts of this service. Their forms name the page that they are on, which no link does.
CONSOLE_HEADERS = {**HEADERS, "Content-Security-Policy": _WITH_SCRIPTS, "Referrer-Policy": "same-origin"}

#: The API description is drawn by a script of this service, which reads /openapi.json and sends trial requests.
DOCS_HEADERS = {**HEADERS, "Content-Security-Policy": _WITH_SCRIPTS.replace("img-src 'self'", "img-src 'self' data:")}

#: The nodes of the run graph, in order, each with its successors.
_NODES = {node.__name__: successors for node, successors in SUCCESSORS.items()} | {"end": []}

#: The order of the fields on the page.
FIELD_ORDER = (
    "film", "title", "caption", "hashtags", "platforms", "ideas", "scene", "sound", "overlay", "take", "clips",
)  # fmt: skip
#: Fields that change only together with another field that is shown.
HIDDEN_FIELDS = ("takes", "clip", "notice", "notices", "warnings", "moderation")


def shown_changes(changes: Iterable[Change]) -> list[Change]:
    """Return the changes to show, in the order of the page."""
    visible = (change for change in changes if change.path.rpartition(".")[2] not in HIDDEN_FIELDS)
    return sorted(visible, key=lambda change: _sort_key(change.path))


def message_page(outcome: str, message: str) -> str:
    """Return the page that confirms a verdict, or reports an error by its code."""
    return _render("message.html", outcome=outcome, message=message)


def console_page(template: str, session: Session | None = None, *, path: str = "", **variables: Any) -> str:
    """Return a page of the console, or a part of one; `path` is the entry of the navigation that it belongs to."""
    return _render(template, session=session, current=path, **variables)


def _format_time(at: datetime | str) -> str:
    at = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{at.astimezone(UTC):%a %d %b %Y, %H:%M} UTC"


def _format_age(at: datetime) -> str:
    """Return the time from now to `at`, in either direction, in its largest unit. `console.js` does the same."""
    seconds = abs((datetime.now(UTC) - at).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return "1 min"


def _format_usd(amount: Any) -> str:
    return f"{float(amount):.2f} USD"


def _label(path: str) -> str:
    """Return the label of a path in the content: `ideas.2.scene` is `Idea 3, scene`."""
    words = {"ideas": "Idea", "clips": "Clip", "overlay": "text over it"}
    kind, number, *rest = [*path.split("."), ""]
    if kind in words and number.isdecimal():
        fields = (words.get(part, part.replace("_", " ")) for part in rest if part)
        return ", ".join([f"{words[kind]} {int(number) + 1}", *fields])
    return path.replace("_", " ").replace(".", ", ").capitalize()


def _sort_key(path: str) -> tuple[int, ...]:
    """Sort changes as on the page, and inside a list by number."""
    return tuple(
        int(part) if part.isdecimal() else FIELD_ORDER.index(part) if part in FIELD_ORDER else 99
        for part in path.split(".")
    )


_environment = Environment(
    loader=FileSystemLoader(TEMPLATES),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=True,
)
_environment.globals |= {"phrases": VERDICT_PHRASES, "nodes": _NODES}
_environment.globals |= {"statuses": get_args(Status), "sandbox_services": SANDBOX_SERVICES.get}
_environment.globals |= {"platform_limits": PLATFORMS, "fit_title": fit_title, "post_text": post_text}
_environment.filters |= {"time": _format_time, "age": _format_age, "usd": _format_usd}
_environment.filters |= {"label": _label, "name_of": name_of}


def _render(template: str, **variables: Any) -> str:
    return _environment.get_template(template).render(**variables)
