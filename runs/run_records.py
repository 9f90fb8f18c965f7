"""The records of runs, decisions and requests, as the run graph uses them."""

from datetime import datetime
from typing import cast

from agents.roles import PreviousReview
from graph.decisions import Gate, RecordedDecision
from graph.nodes.orders import StepFailed
from graph.review_content import Review
from graph.state import RunState
from providers.orders import RetryOptions
from storage import decisions, events, reviews, runs as table
from storage.database import Database


class RunRecords:
    """Implements `graph.dependencies.RunRecords` with the tables."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def load(self, run_id: str, project: str, brief: str) -> RunState:
        """Return the first channels of the run. Raises StepFailed if the run has no row."""
        row = await table.get_run(self.db, run_id)
        if row is None:
            raise StepFailed("run_not_found", f"Run {run_id} not found.")
        return cast("RunState", {"run_id": run_id, "options": dict(row.options), **(row.seed or {})})

    async def record_decision(self, run_id: str, review: Review, decision: RecordedDecision) -> int:
        """Return the number of the decision. Raises StepFailed for a decision that has not been recorded."""
        if not decision.number:
            raise StepFailed("decision_not_recorded", "Decisions of this run require the API: this one has no record.")
        return decision.number

    async def is_approved_unsigned(self, decision: int) -> bool:
        """Return whether the decision approved a film before films were signed."""
        return await decisions.is_approved_unsigned(self.db, decision)

    async def retry_requested_since(self, run_id: str, since: datetime) -> RetryOptions | None:
        """Return the options of the last retry of the run, if it was requested after `since`."""
        last = await events.last_event(self.db, run_id, "retry.requested")
        if last is None or last.created_at <= since:
            return None
        return RetryOptions(prompts=last.payload.get("prompts", {}), drop=last.payload.get("drop", []))

    async def review_history(self, run_id: str, gate: Gate) -> list[PreviousReview]:
        """Return the reviews of this gate, oldest first."""
        comments = {(row.gate, row.revision): row.comment for row in await decisions.list_decisions(self.db, run_id)}
        history = []
        for review in [each for each in await reviews.list_reviews(self.db, run_id) if each.gate == gate]:
            ideas = [f"{idea['title']}: {idea['scene']}" for idea in review.content.get("ideas", [])]
            comment = comments.get((gate, review.revision)) or ""
            history.append(PreviousReview(revision=review.revision, ideas=ideas, comment=comment))
        return history
