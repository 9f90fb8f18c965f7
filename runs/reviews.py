"""The reviews of a run: content, changes since the previous revision, deadline and decision."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel

from graph.decisions import Gate
from graph.review_content import FilmContent, IdeasContent, Review, parse_content
from graph.state import ChangeResult
from prompts.project import Deadline, Project
from providers.orders import digest_of
from providers.renders.manifest import build_timeline, parse_manifest
from runs.decide import require_open_review
from runs.queries import get_run, open_review_of
from runs.services import Services
from storage import decisions, reviews
from storage.ledger import Ledger
from storage.runs import RunRow


class DiffPart(BaseModel):
    """A part of a text that is the same, was removed or was added."""

    op: Literal["same", "removed", "added"]
    text: str


class Change(BaseModel):
    """A difference at a path of the content, with indices from 0: `ideas.2.scene`.

    An added value has no `before`, a removed one no `after`; `diff` compares the words of both.
    """

    path: str
    before: Any
    after: Any
    diff: list[DiffPart]


class OpenedReview(Review):
    """A review, without its decision."""

    requested: list[ChangeResult]
    opened_at: datetime
    due_at: datetime | None
    on_due: str | None
    changes: list[Change]


class ReviewView(OpenedReview):
    """A review. `changes` are those since the previous review of the same gate; the first review has none."""

    open: bool
    decision: decisions.DecisionRow | None


@dataclass(frozen=True)
class RunReview:
    """A review with its run, and the comment on the previous revision, if there is one."""

    run: RunRow
    review: ReviewView
    previous_comment: str | None

    @property
    def clips(self) -> dict[int, str]:
        """Return the digest of the newest file of each clip that the ideation gate does not offer, by number."""
        content = self.review.content
        if not isinstance(content, IdeasContent):
            return {}
        entries = self.run.artifacts.get("clip_manifest", {}).get("clips", [])
        newest = {entry["clip"]: entry["digest"] for entry in entries if "digest" in entry}
        return {number: digest for number, digest in newest.items() if number not in content.make}


class FilmParts(NamedTuple):
    """When each clip begins, in seconds and in order, the digests of takes by clip and take, and facts of the render.

    `facts` are those of `check_render`; of a film that an earlier version rendered without `checks`.
    """

    starts: Mapping[int, float]
    takes: Mapping[tuple[int | None, int | None], str]
    facts: Mapping[str, Any]


async def find_open_review(services: Services, run_id: UUID, gate: Gate) -> RunReview:
    """Return the review that this gate of the run has open. Raises RunNotFound or GateNotOpen."""
    run = await get_run(services.db, run_id)
    revision = (await require_open_review(services.db, run, gate)).revision
    return review_in_run(run, await list_reviews(services, run_id), gate, revision)


async def read_film_parts(ledger: Ledger, run_id: UUID, film: FilmContent) -> FilmParts:
    """Return the parts of a film of the run, as far as its orders have them."""
    settled = [order for order in await ledger.list_for_run(run_id) if order.state == "settled"]
    takes = {(order.clip, order.take): order.result["digest"] for order in settled if order.kind == "clip"}
    renders = {order.result["digest"]: order for order in settled if order.kind == "render"}
    if (render := renders.get(film.film.digest)) is None:
        return FilmParts({}, takes, {})
    manifest = parse_manifest(render.request)
    parts = list(zip(film.clips, build_timeline(manifest), manifest.clips, strict=True))
    # The take that a fork begins with is an order of another run.
    takes |= {(clip.clip, clip.take): each.digest for clip, _, each in parts}
    starts = {clip.clip: span.first_frame / manifest.fps for clip, span, _ in parts}
    return FilmParts(starts, takes, render.result)


def review_in_run(run: RunRow, reviews: Sequence[ReviewView], gate: Gate, revision: int) -> RunReview:
    """Return this one of the reviews of the run. Raises KeyError."""
    of_gate = {each.revision: each for each in reviews if each.gate == gate}
    previous = of_gate.get(revision - 1)
    return RunReview(run, of_gate[revision], previous.decision.comment if previous and previous.decision else None)


async def list_reviews(services: Services, run_id: UUID) -> list[ReviewView]:
    """Return every review of the run in the order in which they were opened. Raises RunNotFound."""
    run = await get_run(services.db, run_id)
    opened = open_review_of(run)
    decided = {(row.gate, row.revision): row for row in await decisions.list_decisions(services.db, run_id)}
    views: list[ReviewView] = []
    previous: dict[str, dict[str, Any]] = {}
    for row in await reviews.list_reviews(services.db, run_id):
        content = parse_content(row.content)
        deadline, due_at, on_due = deadline_of(services.projects, run.project, content.gate), row.due_at, row.on_due
        if row.just_opened and due_at is None and deadline:
            due_at, on_due = row.opened_at + timedelta(hours=deadline.due_hours), deadline.on_due
        calculated = {
            "content": content,
            "due_at": due_at,
            "on_due": on_due,
            "open": opened is not None and (opened.gate, opened.revision) == (row.gate, row.revision),
            "decision": decided.get((row.gate, row.revision)),
            "changes": diff_values(previous[row.gate], row.content) if row.gate in previous else [],
        }
        views.append(ReviewView.model_validate(vars(row) | calculated))
        previous[row.gate] = row.content
    return views


def deadline_of(projects: Mapping[str, Project], project: str, gate: Gate) -> Deadline | None:
    """Return the deadline that the project sets for reviews of this gate, or None."""
    return projects[project].gates.get(gate) if project in projects else None


def diff_values(before: Any, after: Any, path: str = "") -> list[Change]:
    """Return the differences between two JSON values, one per path; empty if they are equal."""
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            change
            for key in dict.fromkeys((*before, *after))
            for change in diff_values(before.get(key), after.get(key), f"{path}.{key}".lstrip("."))
        ]
    if _is_list_of_objects(before) and _is_list_of_objects(after):
        pairs = _paired(before, after)
        return [change for old, new, index in pairs for change in diff_values(old, new, f"{path}.{index}")]
    return [Change(path=path, before=before, after=after, diff=_diff_words(_as_text(before), _as_text(after)))]


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _paired(before: list[Any], after: list[Any]) -> Iterator[tuple[Any, Any, int]]:
    """Yield the items that differ as pairs with their index. An item that only moved is not a difference."""
    old_digests, new_digests = ([digest_of(item) for item in items] for items in (before, after))
    for op, i, i_end, j, j_end in SequenceMatcher(None, old_digests, new_digests, False).get_opcodes():
        if op == "equal":
            continue
        for step in range(max(i_end - i, j_end - j)):
            old = before[i + step] if i + step < i_end else None
            new = after[j + step] if j + step < j_end else None
            yield old, new, i + step if new is None else j + step


def _as_text(value: Any) -> str:
    """Return the value as text for a reader."""
    match value:
        case None:
            return ""
        case dict():
            return " · ".join(_as_text(item) for item in value.values() if item not in (None, ""))
        case list():
            return " ".join(_as_text(item) for item in value)
    return str(value)


def _diff_words(before: str, after: str) -> list[DiffPart]:
    old, new = (re.findall(r"\S+\s*|\s+", text) for text in (before, after))
    parts = []
    for op, i, i_end, j, j_end in SequenceMatcher(None, old, new, False).get_opcodes():
        if op == "equal":
            parts.append(DiffPart(op="same", text="".join(old[i:i_end])))
            continue
        if i < i_end:
            parts.append(DiffPart(op="removed", text="".join(old[i:i_end])))
        if j < j_end:
            parts.append(DiffPart(op="added", text="".join(new[j:j_end])))
    return parts
