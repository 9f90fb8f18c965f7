"""Costs by day, project and provider, what the caps leave, and what films of each project cost."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from pydantic import BaseModel, Field

from prompts.project import Bounds, Project
from runs.errors import InvalidRequest, RunError
from runs.queries import Usd
from runs.services import Services
from runs.start import resolve_project
from storage.costs import CostRows, list_cap_rooms, sum_costs

DEFAULT_DAYS, MAX_DAYS = 30, 366


class CapView(BaseModel, from_attributes=True):
    """A cap of today (UTC), what is spent or reserved of it, and what is left, in USD."""

    name: str
    cap_usd: Usd
    committed_usd: Usd
    left_usd: Usd


class CostReport(CostRows, from_attributes=True):
    """The costs from the first to the last day (UTC). Days without an order are left out."""

    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    caps: list[CapView]


class ProjectView(BaseModel):
    """A project, with the price of the clips of a film with its options; null if no model generates them."""

    name: str
    title: str
    description: str
    platforms: list[str]
    clips: int
    clip_seconds: int
    clip_size: str
    options: Mapping[str, Bounds]
    minimum_usd: Usd | None
    maximum_usd: Usd | None
    budget_usd: Usd
    day_budget_usd: Usd | None
    refusal: str | None = Field(description="Why no run can be started for it.")


async def report_costs(
    services: Services, first: date | None = None, last: date | None = None, project: str | None = None
) -> CostReport:
    """Return the costs of a range of days, by default the last 30. Raises InvalidRequest."""
    last = last or datetime.now(UTC).date()
    first = first or last - timedelta(days=DEFAULT_DAYS - 1)
    if not 0 <= (last - first).days < MAX_DAYS:
        raise InvalidRequest(f"The first day must not be after the last one, nor {MAX_DAYS} days before it.")
    rows = await sum_costs(services.db, first, last, project)
    caps = await list_cap_rooms(services.db, services.ledger.caps)
    return CostReport.model_validate({**vars(rows), "first": first, "last": last, "caps": caps})


def list_projects(services: Services) -> list[ProjectView]:
    """Return the projects that are offered, by name."""
    return [_describe(services, services.projects[name]) for name in sorted(services.offered)]


def clips_usd(services: Services, spec: Project) -> Decimal:
    """Return the price of the clips of a film, each ordered once."""
    return services.video.offer(spec.clip_seconds, spec.clip_size, spec.video).usd_per_clip * spec.clips


def _describe(services: Services, project: Project) -> ProjectView:
    prices, refusal = list[Decimal](), None
    for end in ("", "minimum", "maximum"):
        options = {name: getattr(bounds, end) for name, bounds in project.options.items() if end}
        try:
            spec = resolve_project(services, project.name, options)
            prices.append(clips_usd(services, spec))
        except RunError as error:
            refusal = refusal if end else error.message
    ends = {"minimum_usd": min(prices, default=None), "maximum_usd": max(prices, default=None)}
    return ProjectView(**{**vars(project), **ends, "description": project.summary, "refusal": refusal})
