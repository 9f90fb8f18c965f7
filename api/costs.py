"""`/v1/costs` and `/v1/projects`: what was spent, what caps leave, and what a film of each project costs."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query

from api.authentication import AppStateDep, CallerDep
from api.errors import responses
from api.schemas import ProjectName
from runs import costs

router = APIRouter(prefix="/v1", tags=["costs"], responses=responses(401, 422, 429))

#: Days with neighbours that are dates too.
EARLIEST, LATEST = date(2000, 1, 1), date(2999, 12, 31)
FirstDay = Annotated[date | None, Query(alias="from", ge=EARLIEST, le=LATEST, description="By default 29 days before.")]
LastDay = Annotated[date | None, Query(alias="to", ge=EARLIEST, le=LATEST, description="By default today (UTC).")]


@router.get("/costs")
async def get_costs(
    state: AppStateDep,
    _caller: CallerDep,
    first: FirstDay = None,
    last: LastDay = None,
    project: ProjectName | None = None,
) -> costs.CostReport:
    """Return the costs by day (UTC), project and provider, of up to 366 days, and what the caps of today leave."""
    return await costs.report_costs(state.services, first, last, project)


@router.get("/projects")
async def list_projects(state: AppStateDep, _caller: CallerDep) -> dict[str, list[costs.ProjectView]]:
    """Return the projects that runs can be started for, with their clips, price and caps."""
    return {"projects": costs.list_projects(state.services)}
