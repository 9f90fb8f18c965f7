"""The records of runs and decisions, as the run graph uses them."""

from typing import cast

from graph.decisions import RecordedDecision
from graph.nodes.orders import StepFailed
from graph.review_content import Review
from graph.state import RunState
from storage import runs as table
from storage.database import Database


class RunRecords:
    """Implements `graph.dependencies.RunRecords` with the table `runs`."""

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
