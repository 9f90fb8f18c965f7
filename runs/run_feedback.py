"""What people did beside deciding, as the graph asks for it."""

from __future__ import annotations

from datetime import datetime

from agents.ideator import PreviousReview
from graph.state import Gate
from providers.orders import RetryOptions
from storage import decisions, events
from storage.database import Database


class RunFeedback:
    """The inbox of `graph.ports`, read from the tables."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def retry_requested_since(self, run_id: str, since: datetime) -> bool:
        """Whether a person asked to try the run again after that."""
        last = await events.last_event(self.db, run_id, "retry.requested")
        return last is not None and last["created_at"] > since

    async def retry_options(self, run_id: str) -> RetryOptions:
        """What the person wanted done differently, who asked last to try the run again."""
        last = await events.last_event(self.db, run_id, "retry.requested")
        said = last["payload"] if last else {}
        return RetryOptions(prompts=said.get("prompts", {}), drop=said.get("drop", []))

    async def review_history(self, run_id: str, gate: Gate) -> list[PreviousReview]:
        """The reviews of this gate so far, oldest first."""
        return [
            PreviousReview(
                revision=row["revision"],
                ideas=[f"{idea['title']}: {idea['scene']}" for idea in row["content"].get("ideas", [])],
                comment=row["comment"] or "",
            )
            for row in await decisions.list_review_comments(self.db, run_id, gate)
        ]
