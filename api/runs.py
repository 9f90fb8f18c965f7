"""`/v1/runs`: start, list, decide, cancel, retry and fork runs."""

import base64
from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from api import schemas
from api.authentication import AdminDep, AppStateDep, CallerDep, IdempotentDep
from api.errors import ApiError, responses
from graph.status import Status
from runs import decide, pruning, queries, run_requests, start
from runs.decide import Quote
from runs.queries import RunView
from storage.database import Database
from storage.runs import RunFilter

router = APIRouter(prefix="/v1/runs", tags=["runs"], responses=responses(400, 401, 413, 422, 429))


@router.post("/start", response_model=schemas.RunStarted, responses=responses(403, 404, 409))
async def start_run(body: schemas.StartRunRequest, state: AppStateDep, idempotent: IdempotentDep) -> JSONResponse:
    """Start a video production from a brief."""

    async def process() -> schemas.RunStarted:
        run = await start.start_run(state.services, **dict(body), context=idempotent.context)
        return schemas.RunStarted(run_id=run.id, status="pending")

    return await idempotent(body, process)


@router.get("")
async def list_runs(
    state: AppStateDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    status: Status | None = None,
    project: schemas.ProjectName | None = None,
    text: schemas.SearchText | None = None,
    since: date | None = None,
    until: date | None = None,
) -> schemas.RunPage:
    """Return runs, newest first.

    `text` is part of the id, the brief or the title; `since` and `until` are days (UTC) on which runs were created.
    """
    which = RunFilter(status=status, project=project, text=text, since=since, until=until, served_to=caller.actor)
    return await list_page(state.services.db, limit, cursor, which)


@router.get("/{run_id:uuid}", responses=responses(404))
async def get_run(run_id: UUID, state: AppStateDep, caller: CallerDep) -> RunView:
    """Return a run."""
    return await queries.get_run_view(state.services.db, run_id, served_to=caller.actor)


@router.post("/{run_id:uuid}/approve", response_model=RunView, responses=responses(403, 404, 409, 410))
async def approve(
    run_id: UUID, body: schemas.ApproveRequest, state: AppStateDep, idempotent: IdempotentDep
) -> JSONResponse:
    """Decide at a gate: approve, request changes (`approved: false` with a comment), or reject (without one)."""

    async def process() -> RunView:
        await decide.decide(state.services, run_id, body.gate, body.as_input(), idempotent.context)
        return await queries.get_run_view(state.services.db, run_id, served_to=idempotent.context.actor)

    return await idempotent(body, process)


@router.post("/{run_id:uuid}/cancel", response_model=RunView, responses=responses(403, 404, 409, 410))
async def cancel_run(run_id: UUID, state: AppStateDep, idempotent: IdempotentDep) -> JSONResponse:
    """End a run. Orders that were placed are charged; no more are placed."""

    async def process() -> RunView:
        await run_requests.cancel_run(state.services, run_id, idempotent.context)
        return await queries.get_run_view(state.services.db, run_id, served_to=idempotent.context.actor)

    return await idempotent(None, process)


@router.post("/{run_id:uuid}/retry", response_model=RunView, responses=responses(403, 404, 409, 410, 503))
async def retry_run(
    run_id: UUID, state: AppStateDep, idempotent: IdempotentDep, body: schemas.RetryRequest | None = None
) -> JSONResponse:
    """Continue a failed run from its last checkpoint, or try again now what a run in trouble waits for.

    Nothing that was paid is paid again.
    """

    async def process() -> RunView:
        await run_requests.retry_run(state.services, run_id, **dict(body or ()), context=idempotent.context)
        return await queries.get_run_view(state.services.db, run_id, served_to=idempotent.context.actor)

    return await idempotent(body, process)


@router.post("/{run_id:uuid}/fork", response_model=schemas.RunStarted, responses=responses(403, 404, 409, 410))
async def fork_run(
    run_id: UUID, state: AppStateDep, idempotent: IdempotentDep, body: schemas.ForkRequest | None = None
) -> JSONResponse:
    """Start a new run with the ideas of this one. Identical clips are not paid again."""

    async def process() -> schemas.RunStarted:
        run = await start.fork_run(state.services, run_id, **dict(body or ()), context=idempotent.context)
        return schemas.RunStarted(run_id=run.id, status="pending")

    return await idempotent(body, process)


@router.delete("/{run_id:uuid}", responses=responses(403, 404, 409, 503))
async def delete_run(run_id: UUID, state: AppStateDep, caller: AdminDep) -> RunView:
    """Delete the words and files of a run that has ended; its costs, orders and decisions are kept. Needs `admin`."""
    await pruning.delete_run(state.services, run_id, caller.id)
    return await queries.get_run_view(state.services.db, run_id)


@router.get("/{run_id:uuid}/quote", responses=responses(404, 409))
async def quote_clips(
    run_id: UUID, state: AppStateDep, _caller: CallerDep, clips: Annotated[schemas.ClipNumbers, Query()]
) -> Quote:
    """Return the price of generating these clips again. Nothing is decided."""
    return await decide.quote(state.services, run_id, clips)


async def list_page(db: Database, limit: int, cursor: str | None, which: RunFilter) -> schemas.RunPage:
    """Return the page of these runs after the cursor. Raises ApiError 422."""
    page: RunFilter = {**which, "before": _parse_cursor(cursor)} if cursor else which
    runs = await queries.list_runs(db, limit=limit, **page)
    return schemas.RunPage(runs=runs, next_cursor=_cursor_after(runs[-1]) if len(runs) == limit else None)


def _cursor_after(run: RunView) -> str:
    return base64.urlsafe_b64encode(f"{run.created_at.isoformat()}|{run.run_id}".encode()).decode()


def _parse_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the creation time and id that the cursor contains. Raises ApiError 422."""
    try:
        text, _, run_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition("|")
        created_at = datetime.fromisoformat(text)
        if created_at.tzinfo is None:
            raise ValueError("the time has no zone")
        return created_at, UUID(run_id)
    except ValueError:
        raise ApiError(422, "invalid_cursor", "Invalid cursor. Use the next_cursor of a previous response.") from None
