"""Summaries of projects, runs, reviews and costs for language models: short JSON."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import AfterValidator, AliasPath, BaseModel, ConfigDict, Field

from graph.review_content import Review, ReviewContent
from graph.state import ChangeResult
from prompts.project import Project
from runs import queries
from runs.media_links import links_of_run
from runs.queries import RunCost, RunFailure, RunView, Waiting
from runs.services import Services
from storage.database import Database
from storage.spending import day_costs

REVIEW_STATUSES = ("awaiting_ideation_approval", "awaiting_publish_approval")
MAX_BRIEF_CHARACTERS = 300


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_BRIEF_CHARACTERS else f"{line[:MAX_BRIEF_CHARACTERS]}…"


class ProjectSummary(BaseModel):
    """A project that a video can be produced for."""

    model_config = ConfigDict(from_attributes=True)

    project: str = Field(validation_alias="name")
    summary: str
    clips: int
    film_seconds: float
    budget_usd: float


class RunFields(BaseModel):
    """The fields of a run that every summary of it contains."""

    model_config = ConfigDict(from_attributes=True)

    run_id: UUID
    status: str


class RunSummary(RunFields):
    """A run in a list."""

    project: str
    brief: Annotated[str, AfterValidator(_shorten)]
    needs_attention: bool
    spent_usd: float = Field(validation_alias=AliasPath("cost", "spent_usd"))


class RunDetails(RunFields):
    """One run. `film` is a link."""

    project: str
    current_step: str | None
    film: str | None
    brief: Annotated[str, AfterValidator(_shorten)]
    cost: RunCost
    error: RunFailure | None
    waiting: Waiting | None
    needs_attention: bool
    open_gate: str | None
    publication: Any


class OpenReviewSummary(RunFields):
    """An open review, and the cost of approving it."""

    gate: str
    revision: int
    title: str
    estimated_usd: float
    digest: str


class ReviewDetails(OpenReviewSummary):
    """An open review with its content."""

    content: ReviewContent
    requested: list[ChangeResult]


class RunCostSummary(RunFields, RunCost):
    """The costs of a run."""


class DayCostSummary(BaseModel):
    """The costs of the day (UTC), and its cap."""

    spent_today_usd: float
    reserved_today_usd: float
    day_cap_usd: float


CostSummary = RunCostSummary | DayCostSummary
ReviewT = TypeVar("ReviewT", bound=OpenReviewSummary)


def list_projects(projects: Mapping[str, Project]) -> list[ProjectSummary]:
    """Return the projects, by name."""
    return [ProjectSummary.model_validate(project) for _, project in sorted(projects.items())]


async def list_runs(db: Database, *, limit: int) -> list[RunSummary]:
    """Return the newest runs."""
    return [RunSummary.model_validate(run) for run in await queries.list_runs(db, limit=limit)]


async def summarize_run(db: Database, run_id: UUID, base_url: str) -> RunDetails:
    """Return one run, with a link to its film. Raises RunNotFound."""
    run = await queries.get_run_view(db, run_id)
    film = (await links_of_run(db, run_id, base_url)).get("film")
    gate = run.review.gate if run.review else None
    publication = run.artifacts.get("publication")
    return RunDetails.model_validate(vars(run) | {"film": film, "open_gate": gate, "publication": publication})


async def list_open_reviews(db: Database) -> list[OpenReviewSummary]:
    """Return the open reviews, those of the newest runs first."""
    runs = [run for status in REVIEW_STATUSES for run in await queries.list_runs(db, status=status)]
    runs.sort(key=lambda run: run.created_at, reverse=True)
    return [_summarize_review(OpenReviewSummary, run, run.review) for run in runs if run.review]


async def summarize_review(db: Database, run_id: UUID) -> ReviewDetails:
    """Return the open review of a run. Raises RunNotFound or GateNotOpen."""
    run = await queries.get_run_view(db, run_id)
    if run.review is None:
        raise queries.no_open_review(run.status)
    return _summarize_review(ReviewDetails, run, run.review)


async def summarize_costs(services: Services, run_id: UUID | None) -> CostSummary:
    """Return the costs of one run, or those of the day (UTC) with its cap. Raises RunNotFound."""
    if run_id:
        run = await queries.get_run_view(services.db, run_id)
        return RunCostSummary.model_validate(vars(run) | vars(run.cost))
    day, cap = await day_costs(services.db), services.ledger.caps.day_usd
    return DayCostSummary.model_validate(
        {"spent_today_usd": day.spent_usd, "reserved_today_usd": day.reserved_usd, "day_cap_usd": cap}
    )


def _summarize_review(kind: type[ReviewT], run: RunView, review: Review) -> ReviewT:
    estimated_usd = getattr(review.content, "estimated_usd", 0)
    fields = {"title": review.content.title, "estimated_usd": estimated_usd}
    return kind.model_validate(vars(run) | vars(review) | fields)
