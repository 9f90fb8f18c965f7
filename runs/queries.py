"""Look at runs: one, a page of them, what happened in one."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from runs.errors import InvalidRequest, RunNotFound
from runs.services import Services
from storage import runs as table
from storage.runs import Costs, RunRow


def parse_run_id(run_id: str) -> UUID:
    """The id that these words are. Raises Invalid for those that are none."""
    try:
        return UUID(run_id)
    except ValueError:
        raise InvalidRequest(f"{run_id[:80]!r} is not the id of a run.") from None


async def get_run(services: Services, run_id: UUID) -> RunRow:
    """The run of this id. Raises RunNotFound."""
    row = await table.get_run(services.db, run_id)
    if row is None:
        raise RunNotFound(f"There is no run {run_id}.", run_id=str(run_id))
    return row


async def get_run_view(services: Services, run_id: UUID) -> dict[str, Any]:
    """The run as every door shows it: plain JSON. Raises RunNotFound."""
    row = await get_run(services, run_id)
    return as_view(row, await table.run_costs(services.db, run_id))


async def list_runs(
    services: Services,
    *,
    limit: int = 20,
    before: tuple[datetime, UUID] | None = None,
    status: str | None = None,
    project: str | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` runs, newest first, older than the place `before` (time of creation, id)."""
    rows = await table.list_runs(services.db, limit=limit, before=before, status=status, project=project)
    return [as_view(row, await table.run_costs(services.db, row["id"])) for row in rows]


def as_view(row: RunRow, costs: Costs) -> dict[str, Any]:
    """A run's row as JSON, in the words of the API reference."""
    estimated = row["artifacts"].get("ideas", {}).get("estimated_usd")
    return {
        "run_id": str(row["id"]),
        "status": row["status"],
        "current_step": row["current_step"],
        "artifacts": row["artifacts"],
        "project": row["project"],
        "brief": row["brief"],
        "options": row["options"],
        "metadata": row["metadata"],
        "created_at": row["created_at"].isoformat(),
        "updated_at": row["updated_at"].isoformat(),
        "error": row["error"],
        "cost": {
            "estimated_usd": _usd(estimated),
            "reserved_usd": _usd(costs["reserved"]),
            "spent_usd": _usd(costs["spent"]),
            "cap_usd": _usd(row["cap_usd"]),
        },
        "review": row["review"],
        "revision": row["revision"],
        "forked_from": str(row["forked_from"]) if row["forked_from"] else None,
    }


def _usd(amount: Decimal | str | None) -> float | None:
    return None if amount is None else round(float(amount), 4)
