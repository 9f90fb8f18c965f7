"""What people did beside deciding, as the graph asks for it."""

from __future__ import annotations

from datetime import datetime

from agents.ideator import Earlier
from graph.state import Gate
from providers.orders import Wishes
from storage import decisions, events
from storage.pool import Database


class PostgresInbox:
    """The inbox of `graph.ports`, read from the tables."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def asked_again(self, run_id: str, since: datetime) -> bool:
        """Whether a person asked to try the run again after that."""
        last = await events.last(self.db, run_id, "retry.requested")
        return last is not None and last["created_at"] > since

    async def wishes(self, run_id: str) -> Wishes:
        """What the person wanted done differently, who asked last to try the run again."""
        last = await events.last(self.db, run_id, "retry.requested")
        said = last["payload"] if last else {}
        return Wishes(prompts=said.get("prompts", {}), drop=said.get("drop", []))

    async def history(self, run_id: str, gate: Gate) -> list[Earlier]:
        """The reviews of this gate so far, oldest first."""
        return [
            Earlier(
                revision=row["revision"],
                ideas=[f"{idea['title']}: {idea['scene']}" for idea in row["shown"].get("ideas", [])],
                comment=row["comment"] or "",
            )
            for row in await decisions.reviews(self.db, run_id, gate)
        ]
