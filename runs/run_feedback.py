"""The run graph's view of retries and earlier reviews."""

from datetime import datetime

from agents.ideator import PreviousReview
from graph.decisions import Gate
from providers.orders import RetryOptions
from storage import decisions, events
from storage.database import Database


class RunFeedback:
    """Implements `graph.dependencies.RunFeedback` with the tables."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def retry_requested_since(self, run_id: str, since: datetime) -> RetryOptions | None:
        """Return the options of the last retry of the run, if it was requested after `since`."""
        last = await events.last_event(self.db, run_id, "retry.requested")
        if last is None or last.created_at <= since:
            return None
        return RetryOptions(prompts=last.payload.get("prompts", {}), drop=last.payload.get("drop", []))

    async def review_history(self, run_id: str, gate: Gate) -> list[PreviousReview]:
        """Return the reviews of this gate, oldest first."""
        return [
            PreviousReview(
                revision=review.revision,
                ideas=[f"{idea['title']}: {idea['scene']}" for idea in review.content.get("ideas", [])],
                comment=review.comment or "",
            )
            for review in await decisions.list_review_comments(self.db, run_id, gate)
        ]
