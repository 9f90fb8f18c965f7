"""Projects, runs, reviews and costs as a model is shown them: short, plain JSON."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from runs import look
from runs.errors import GateNotOpen
from runs.media_links import of_run
from runs.production import Production
from storage import costs

WAITING = ("awaiting_ideation_approval", "awaiting_publish_approval")


def projects(production: Production) -> list[dict[str, Any]]:
    """The projects that a video can be made for."""
    return [
        {
            "project": name,
            "summary": project.summary,
            "clips": project.clips,
            "film_seconds": project.film_seconds,
            "budget_usd": float(project.budget_usd),
        }
        for name, project in sorted(production.projects.items())
    ]


async def runs(production: Production, *, limit: int = 10) -> list[dict[str, Any]]:
    """The newest runs."""
    found = await look.page(production, limit=limit)
    return [
        {
            **{key: run[key] for key in ("run_id", "project", "status")},
            "brief": _short(run["brief"]),
            "spent_usd": run["cost"]["spent_usd"],
        }
        for run in found
    ]


async def run(production: Production, run_id: UUID, base_url: str) -> dict[str, Any]:
    """How one run stands. Raises RunNotFound."""
    found = await look.view(production, run_id)
    links = await of_run(production, run_id, base_url)
    publication = found["artifacts"].get("publication")
    return {
        **{key: found[key] for key in ("run_id", "status", "project", "current_step")},
        **({"film": links["film"]} if "film" in links else {}),
        "brief": _short(found["brief"]),
        "cost": found["cost"],
        "error": found["error"],
        "open_gate": found["review"]["gate"] if found["review"] else None,
        "publication": publication,
    }


async def reviews(production: Production) -> list[dict[str, Any]]:
    """The gates that are open, the newest runs first: what each asks, and what saying yes would cost."""
    found = [run for status in WAITING for run in await look.page(production, limit=20, status=status)]
    found.sort(key=lambda run: str(run["created_at"]), reverse=True)
    return [_asked(run) for run in found if run["review"]]


async def review(production: Production, run_id: UUID) -> dict[str, Any]:
    """What the open gate of a run shows. Raises RunNotFound or GateNotOpen."""
    found = await look.view(production, run_id)
    if not found["review"]:
        said = f"No gate of this run is open: it is {found['status']}."
        raise GateNotOpen(said, open_gate=None, last_decision=None)
    return {**_asked(found), "shown": found["review"]["shown"]}


async def costs_of(production: Production, run_id: UUID | None) -> dict[str, Any]:
    """What one run costs, or the day (UTC) and its cap. Raises RunNotFound."""
    if run_id:
        found = await look.view(production, run_id)
        return {"run_id": found["run_id"], "status": found["status"], **found["cost"]}
    day = await costs.today(production.db)
    return {
        "spent_today_usd": float(day["spent"]),
        "reserved_today_usd": float(day["reserved"]),
        "day_cap_usd": float(production.ledger.caps.day_usd),
    }


def _asked(run: dict[str, Any]) -> dict[str, Any]:
    review = run["review"]
    return {
        "run_id": run["run_id"],
        "status": run["status"],
        "gate": review["gate"],
        "revision": review["revision"],
        "title": review["shown"].get("title", ""),
        "estimated_usd": float(review["shown"].get("estimated_usd", 0)),
        "digest": review["digest"],
    }


def _short(text: str, limit: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
