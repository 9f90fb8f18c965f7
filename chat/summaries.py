"""Summaries of projects, runs, reviews and costs for language models: short JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from graph.review_content import IdeasContent, Review, ReviewContent
from prompts.project import Project
from runs import queries
from runs.errors import GateNotOpen
from runs.media_links import links_of_run
from runs.queries import RunCost, RunFailure, RunView
from runs.services import Services
from storage.database import Database
from storage.orders import day_costs

REVIEW_STATUSES = ("awaiting_ideation_approval", "awaiting_publish_approval")
MAX_REVIEWS_PER_GATE = 20


class ProjectSummary(BaseModel):
    """A project that a video can be produced for."""

    project: str
    summary: str
    clips: int
    film_seconds: float
    budget_usd: float


class RunSummary(BaseModel):
    """A run in a list."""

    run_id: UUID
    project: str
    status: str
    brief: str
    spent_usd: float


class RunDetails(BaseModel):
    """One run. `film` is a link."""

    run_id: UUID
    status: str
    project: str
    current_step: str | None
    film: str | None
    brief: str
    cost: RunCost
    error: RunFailure | None
    open_gate: str | None
    publication: Any


class OpenReviewSummary(BaseModel):
    """An open review, and the cost of approving it."""

    run_id: UUID
    status: str
    gate: str
    revision: int
    title: str
    estimated_usd: float
    digest: str


class ReviewDetails(OpenReviewSummary):
    """An open review with its content."""

    content: ReviewContent


class RunCostSummary(RunCost):
    """The costs of a run."""

    run_id: UUID
    status: str


class DayCostSummary(BaseModel):
    """The costs of the day (UTC), and its cap."""

    spent_today_usd: float
    reserved_today_usd: float
    day_cap_usd: float


CostSummary = RunCostSummary | DayCostSummary


def list_projects(projects: Mapping[str, Project]) -> list[ProjectSummary]:
    """Return the projects, by name."""
    return [
        ProjectSummary(
            project=name,
            summary=project.summary,
            clips=project.clips,
            film_seconds=project.film_seconds,
            budget_usd=float(project.budget_usd),
        )
        for name, project in sorted(projects.items())
    ]


async def list_runs(db: Database, *, limit: int) -> list[RunSummary]:
    """Return the newest runs."""
    return [
        RunSummary(
            run_id=run.run_id,
            project=run.project,
            status=run.status,
            brief=_shorten(run.brief),
            spent_usd=run.cost.spent_usd,
        )
        for run in await queries.list_runs(db, limit=limit)
    ]


async def summarize_run(db: Database, run_id: UUID, base_url: str) -> RunDetails:
    """Return one run, with a link to its film. Raises RunNotFound."""
    run = await queries.get_run_view(db, run_id)
    links = await links_of_run(db, run_id, base_url)
    return RunDetails(
        run_id=run.run_id,
        status=run.status,
        project=run.project,
        current_step=run.current_step,
        film=links.get("film"),
        brief=_shorten(run.brief),
        cost=run.cost,
        error=run.error,
        open_gate=run.review.gate if run.review else None,
        publication=run.artifacts.get("publication"),
    )


async def list_open_reviews(db: Database) -> list[OpenReviewSummary]:
    """Return the open reviews, those of the newest runs first."""
    runs = [
        run
        for status in REVIEW_STATUSES
        for run in await queries.list_runs(db, limit=MAX_REVIEWS_PER_GATE, status=status)
    ]
    runs.sort(key=lambda run: run.created_at, reverse=True)
    return [OpenReviewSummary.model_validate(_review_fields(run, run.review)) for run in runs if run.review]


async def summarize_review(db: Database, run_id: UUID) -> ReviewDetails:
    """Return the open review of a run. Raises RunNotFound or GateNotOpen."""
    run = await queries.get_run_view(db, run_id)
    if run.review is None:
        message = f"The run has no open review: its status is {run.status}."
        raise GateNotOpen(message, open_gate=None, last_decision=None)
    return ReviewDetails.model_validate(_review_fields(run, run.review) | {"content": run.review.content})


async def summarize_costs(services: Services, run_id: UUID | None) -> CostSummary:
    """Return the costs of one run, or those of the day (UTC) with its cap. Raises RunNotFound."""
    if run_id:
        run = await queries.get_run_view(services.db, run_id)
        return RunCostSummary(run_id=run.run_id, status=run.status, **run.cost.model_dump())
    day = await day_costs(services.db)
    return DayCostSummary(
        spent_today_usd=float(day.spent_usd),
        reserved_today_usd=float(day.reserved_usd),
        day_cap_usd=float(services.ledger.caps.day_usd),
    )


def _review_fields(run: RunView, review: Review) -> dict[str, Any]:
    content = review.content
    return {
        "run_id": run.run_id,
        "status": run.status,
        "gate": review.gate,
        "revision": review.revision,
        "title": content.title,
        "estimated_usd": content.estimated_usd if isinstance(content, IdeasContent) else 0,
        "digest": review.digest,
    }


def _shorten(text: str, limit: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
