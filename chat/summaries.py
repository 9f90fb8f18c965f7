"""Projects, runs, reviews and costs as a model is shown them: short, plain JSON."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from runs import queries
from runs.errors import GateNotOpen
from runs.media_links import links_of_run
from runs.services import Services
from storage import costs

WAITING = ("awaiting_ideation_approval", "awaiting_publish_approval")


def list_projects(services: Services) -> list[dict[str, Any]]:
    """The projects that a video can be made for."""
    return [
        {
            "project": name,
            "summary": project.summary,
            "clips": project.clips,
            "film_seconds": project.film_seconds,
            "budget_usd": float(project.budget_usd),
        }
        for name, project in sorted(services.projects.items())
    ]


async def list_runs(services: Services, *, limit: int = 10) -> list[dict[str, Any]]:
    """The newest runs."""
    found = await queries.list_runs(services, limit=limit)
    return [
        {
            **{key: run[key] for key in ("run_id", "project", "status")},
            "brief": _short(run["brief"]),
            "spent_usd": run["cost"]["spent_usd"],
        }
        for run in found
    ]


async def summarize_run(services: Services, run_id: UUID, base_url: str) -> dict[str, Any]:
    """How one run stands. Raises RunNotFound."""
    found = await queries.get_run_view(services, run_id)
    links = await links_of_run(services, run_id, base_url)
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


async def list_open_reviews(services: Services) -> list[dict[str, Any]]:
    """The gates that are open, the newest runs first: what each asks, and what saying yes would cost."""
    found = [run for status in WAITING for run in await queries.list_runs(services, limit=20, status=status)]
    found.sort(key=lambda run: str(run["created_at"]), reverse=True)
    return [_asked(run) for run in found if run["review"]]


async def summarize_review(services: Services, run_id: UUID) -> dict[str, Any]:
    """What the open gate of a run shows. Raises RunNotFound or GateNotOpen."""
    found = await queries.get_run_view(services, run_id)
    if not found["review"]:
        said = f"No gate of this run is open: it is {found['status']}."
        raise GateNotOpen(said, open_gate=None, last_decision=None)
    return {**_asked(found), "content": found["review"]["content"]}


async def summarize_costs(services: Services, run_id: UUID | None) -> dict[str, Any]:
    """What one run costs, or the day (UTC) and its cap. Raises RunNotFound."""
    if run_id:
        found = await queries.get_run_view(services, run_id)
        return {"run_id": found["run_id"], "status": found["status"], **found["cost"]}
    day = await costs.day_costs(services.db)
    return {
        "spent_today_usd": float(day["spent"]),
        "reserved_today_usd": float(day["reserved"]),
        "day_cap_usd": float(services.ledger.caps.day_usd),
    }


def _asked(run: dict[str, Any]) -> dict[str, Any]:
    review = run["review"]
    return {
        "run_id": run["run_id"],
        "status": run["status"],
        "gate": review["gate"],
        "revision": review["revision"],
        "title": review["content"].get("title", ""),
        "estimated_usd": float(review["content"].get("estimated_usd", 0)),
        "digest": review["digest"],
    }


def _short(text: str, limit: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
