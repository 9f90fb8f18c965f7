"""What a person needs to know to plan today's videos: prices, caps, and what was made, scheduled or rejected lately."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from pydantic import BaseModel, Field

from prompts.project import Project
from runs.costs import clips_usd, list_projects
from runs.queries import RunView, Usd, list_runs
from runs.services import Services
from storage.costs import list_cap_rooms

#: Runs that were started this many days ago or later are not to be made again.
RECENT_DAYS = 14
MAX_PROJECTS, MAX_RECENT_RUNS, MAX_PUBLISHED_RUNS, MAX_TEXT_CHARACTERS = 10, 20, 50, 80


class ProjectFacts(BaseModel):
    """A project: the price of the clips of a film, what its caps leave today, and the day of its last publication."""

    project: str
    summary: str
    usd_per_film: Usd | None
    left_usd: Usd
    last_published: date | None
    refused: str | None = Field(description="Why no run can be started for it.")


class RecentRun(BaseModel):
    """A recent run, and its outcome: published, scheduled, rejected, or its status. `at` is the time of the outcome."""

    started: date
    project: str
    brief: str
    outcome: str
    at: datetime | None
    why: str | None = Field(description="Why it was rejected, or failed.")


class PlanningFacts(BaseModel):
    """The facts about today (UTC). The amounts left are those of the caps, in USD."""

    today: date
    left_usd: Usd
    projects: list[ProjectFacts]
    runs: list[RecentRun]


async def get_planning_facts(services: Services) -> PlanningFacts:
    """Return the facts from which videos for today are proposed; the runs of the last two weeks, newest first."""
    today = datetime.now(UTC).date()
    recent = await list_runs(services.db, limit=MAX_RECENT_RUNS, since=today - timedelta(days=RECENT_DAYS))
    published = await list_runs(services.db, limit=MAX_PUBLISHED_RUNS, status="completed")
    left_usd = {cap.name: float(cap.left_usd) for cap in await list_cap_rooms(services.db, services.ledger.caps)}
    day_usd = left_usd.pop("all projects")
    projects = [
        ProjectFacts(
            project=view.name,
            summary=_shorten(view.description),
            usd_per_film=None if view.refusal else float(clips_usd(services, services.projects[view.name])),
            left_usd=min(day_usd, left_usd.get(view.name, day_usd)),
            last_published=_last_publication(published, services.projects[view.name]),
            refused=view.refusal,
        )
        for view in list_projects(services)[:MAX_PROJECTS]
    ]
    return PlanningFacts(today=today, left_usd=day_usd, projects=projects, runs=list(map(_describe, recent)))


def _last_publication(runs: Iterable[RunView], project: Project) -> date | None:
    return max((run.updated_at.date() for run in runs if run.project == project.name), default=None)


def _describe(run: RunView) -> RecentRun:
    outcome, at, why = run.status.replace("_", " "), None, run.error and _shorten(run.error.message)
    if run.error and run.error.code in ("rejected", "cancelled"):
        outcome = run.error.code
    elif run.waiting and run.waiting.scheduled_for:
        outcome, at = "scheduled", run.waiting.scheduled_for
    elif run.status == "completed":
        outcome, at = "published", run.updated_at
    brief = _shorten(run.brief)
    return RecentRun(started=run.created_at.date(), project=run.project, brief=brief, outcome=outcome, at=at, why=why)


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT_CHARACTERS else f"{line[:MAX_TEXT_CHARACTERS]}…"
