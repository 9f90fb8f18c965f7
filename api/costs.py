"""`/v1/costs` and `/v1/projects`: what was spent, what caps leave, what films of projects cost, and their rules."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from api.authentication import AppStateDep, CallerDep, IdempotentDep
from api.errors import responses
from api.schemas import ProjectName
from runs import costs, rules

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


@router.get("/projects/{name}/rules", responses=responses(404))
async def get_rules(name: ProjectName, state: AppStateDep, _caller: CallerDep) -> rules.RulesView:
    """Return the rules that new ideas of the project follow, and the proposal as a diff."""
    return await rules.get_rules(state.services, name)


@router.post("/projects/{name}/rules", response_model=rules.RulesView, responses=responses(400, 403, 404, 409, 413))
async def change_rules(
    name: ProjectName, body: rules.RulesChange, state: AppStateDep, idempotent: IdempotentDep
) -> JSONResponse:
    """Let the model propose rules from the notes of people, approve or dismiss what it proposed, or remove a rule."""
    return await idempotent(body, lambda: rules.change_rules(state.services, name, body, idempotent.context))
