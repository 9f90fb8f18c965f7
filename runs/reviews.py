"""Every review of a run: what it showed, what changed since the one before, when it was due, what was decided."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from difflib import SequenceMatcher
from typing import Any, Literal, cast
from uuid import UUID

from typing_extensions import TypedDict  # pydantic reads them too, and needs this one before Python 3.12

from graph.state import Gate
from prompts.project import Deadline
from providers.orders import ClipNote, digest_of
from runs.queries import get_run
from runs.services import Services
from storage import decisions, reviews
from storage.decisions import DecisionRow
from storage.reviews import ReviewRow
from storage.runs import RunRow


class DiffPart(TypedDict):
    """A stretch of words that stayed, went or came."""

    op: Literal["same", "removed", "added"]
    text: str


class Change(TypedDict):
    """What is different `at` a place of what is shown, counted from 0: `ideas.2.scene`.

    What was added has no `before`, what was removed no `after`; `diff` is of the words of both.
    """

    at: str
    before: Any
    after: Any
    diff: list[DiffPart]


class ReviewDecision(TypedDict):
    """What was decided about a review, by whom and when."""

    number: int
    verdict: str
    comment: str | None
    edits: Any
    clips: list[ClipNote] | None
    takes: dict[str, int] | None
    decided_by: str
    channel: str
    decided_at: datetime
    approved_digest: str | None


class Review(TypedDict):
    """A review. `changes` are those since the review of the same gate before it; of the first there are none."""

    gate: str
    revision: int
    digest: str
    content: dict[str, Any]
    opened_at: datetime
    due_at: datetime | None
    on_due: str | None
    open: bool
    decision: ReviewDecision | None
    changes: list[Change]


async def list_reviews(services: Services, run_id: UUID) -> list[Review]:
    """Every review so far, in the order in which they were opened. Raises RunNotFound."""
    run = await get_run(services, run_id)
    now_open = run["review"] and (run["review"]["gate"], run["review"]["revision"])
    made = {(row["gate"], row["revision"]): row for row in await decisions.list_decisions(services.db, run_id)}
    listed, last = [], dict[str, Any]()
    for row in await reviews.list_reviews(services.db, run_id):
        place, content = (row["gate"], row["revision"]), row["content"]
        before = last.get(row["gate"])
        due_at, on_due = _due(services, run, row)
        listed.append(
            Review(
                gate=row["gate"],
                revision=row["revision"],
                digest=row["digest"],
                content=content,
                opened_at=row["opened_at"],
                due_at=due_at,
                on_due=on_due,
                open=place == now_open,
                decision=_decision(made[place]) if place in made else None,
                changes=[] if before is None else diff_values(before, content),
            )
        )
        last[row["gate"]] = content
    return listed


def deadline_of(services: Services, project: str, gate: str) -> Deadline | None:
    """When reviews of this gate are due, if the project says so."""
    found = services.projects.get(project)
    return found.gates.get(cast("Gate", gate)) if found else None


def _due(services: Services, run: RunRow, row: ReviewRow) -> tuple[datetime | None, str | None]:
    deadline = deadline_of(services, run["project"], row["gate"])
    if row["just_opened"] and row["due_at"] is None and deadline:
        return row["opened_at"] + timedelta(hours=deadline.due_hours), deadline.on_due
    return row["due_at"], row["on_due"]


def _decision(row: DecisionRow) -> ReviewDecision:
    return ReviewDecision(
        number=row["number"],
        verdict=row["verdict"],
        comment=row["comment"],
        edits=row["edits"],
        clips=row["clips"],
        takes=row["takes"],
        decided_by=row["decided_by"],
        channel=row["channel"],
        decided_at=row["decided_at"],
        approved_digest=row["approved_digest"],
    )


def diff_values(before: Any, after: Any, at: str = "") -> list[Change]:
    """What is different between two JSON values, place by place; empty when they are the same."""
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            change
            for key in dict.fromkeys((*before, *after))
            for change in diff_values(before.get(key), after.get(key), f"{at}.{key}".lstrip("."))
        ]
    if _is_list_of_objects(before) and _is_list_of_objects(after):
        return [
            change for old, new, place in _paired(before, after) for change in diff_values(old, new, f"{at}.{place}")
        ]
    return [Change(at=at, before=before, after=after, diff=_words(_text(before), _text(after)))]


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _paired(before: list[Any], after: list[Any]) -> Iterator[tuple[Any, Any, int]]:
    """Which item became which, and its place: what only moved is not taken for something new."""
    matcher = SequenceMatcher(None, [digest_of(each) for each in before], [digest_of(each) for each in after], False)
    for op, i, i_end, j, j_end in matcher.get_opcodes():
        if op == "equal":
            continue
        for step in range(max(i_end - i, j_end - j)):
            old = before[i + step] if i + step < i_end else None
            new = after[j + step] if j + step < j_end else None
            yield old, new, i + step if new is None else j + step


def _text(value: Any) -> str:
    """A value in words, the way a person reads it."""
    match value:
        case None:
            return ""
        case dict():
            return " · ".join(_text(each) for each in value.values() if each not in (None, ""))
        case list():
            return " ".join(_text(each) for each in value)
    return str(value)


def _words(before: str, after: str) -> list[DiffPart]:
    old, new = (re.findall(r"\S+\s*|\s+", text) for text in (before, after))
    pieces = []
    for op, i, i_end, j, j_end in SequenceMatcher(None, old, new, False).get_opcodes():
        if op == "equal":
            pieces.append(DiffPart(op="same", text="".join(old[i:i_end])))
            continue
        if i < i_end:
            pieces.append(DiffPart(op="removed", text="".join(old[i:i_end])))
        if j < j_end:
            pieces.append(DiffPart(op="added", text="".join(new[j:j_end])))
    return pieces
