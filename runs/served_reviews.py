"""Record which reviews an actor was served: a decision that names no digest counts for these only.

Every entry point that sends the content of a review records it before it sends it: here, or with the run that it reads.
A review link needs no record: it carries the digest. A refusal records nothing, although it contains the current
content: a client that repeats its request must not decide about what no person has read.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from graph.review_content import Review
from runs.history import History
from storage import reviews
from storage.actors import Actor
from storage.database import Database
from storage.events import Event
from storage.reviews import ServedReview


def served_review(run_id: UUID, review: Review) -> ServedReview:
    """Return the record of a review that is served."""
    return ServedReview(run_id, review.gate, review.revision, review.digest)


async def record_events(db: Database, actor: Actor, run_id: UUID, events: Iterable[Event]) -> None:
    """Record that the actor is served these events of a run: an opened review is one of them."""
    await record_reviews(db, actor, run_id, (event.payload for event in events if event.kind == "review.opened"))


async def record_history(db: Database, actor: Actor, history: History) -> None:
    """Record that the actor is served this history, whose entries contain the opened reviews."""
    payloads = (entry.details for entry in history.entries if entry.kind == "revision")
    await record_reviews(db, actor, history.run_id, payloads)


async def record_reviews(db: Database, actor: Actor, run_id: UUID, opened: Iterable[Mapping[str, Any]]) -> None:
    """Record that the actor is served these reviews of a run, each with `gate`, `revision` and `digest`."""
    served = [ServedReview(run_id, each["gate"], each["revision"], each["digest"]) for each in opened]
    await reviews.record_served(db, actor.id, served)
