"""`/v1/runs`: start, look, decide, cancel, retry."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from api.authentication import AppStateDep, CallerDep
from api.errors import ApiError, responses
from api.idempotency import IdempotentRequest
from api.schemas import (
    ApproveRequest,
    ClipChange,
    ClipNumber,
    ForkRequest,
    Quote,
    RetryRequest,
    Run,
    RunPage,
    RunStarted,
    StartRunRequest,
)
from graph.status import Status
from providers.orders import ClipNote
from runs import cancel, fork, queries, retry, start
from runs.decide import decide, quote, verdict_of

CHANNEL = "api"

router = APIRouter(prefix="/v1/runs", tags=["runs"], responses=responses(400, 401, 413, 422, 429))

OnceDep = Annotated[IdempotentRequest, Depends()]


@router.post("/start", response_model=RunStarted, responses=responses(404, 409))
async def start_run(body: StartRunRequest, parts: AppStateDep, once: OnceDep) -> JSONResponse:
    """Start a video production from a brief."""

    async def do() -> dict[str, Any]:
        run = await start.start_run(
            parts.services,
            project=body.project,
            brief=body.brief,
            options=body.options,
            metadata=body.metadata,
            budget_usd=body.budget_usd,
            started_by=once.who.id,
            channel=CHANNEL,
            request_key=once.key,
        )
        return {"run_id": str(run["id"]), "status": "pending"}

    return await once(body, do)


@router.get("", response_model=RunPage)
async def list_runs(
    parts: AppStateDep,
    _who: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    status: Status | None = None,
    project: Annotated[str | None, Query(pattern="^[a-z0-9_-]{1,64}$")] = None,
) -> dict[str, Any]:
    """Runs, newest first."""
    runs = await queries.list_runs(
        parts.services, limit=limit, before=_place(cursor) if cursor else None, status=status, project=project
    )
    return {"runs": runs, "next_cursor": _cursor(runs[-1]) if len(runs) == limit else None}


@router.get("/{run_id:uuid}", response_model=Run, responses=responses(404))
async def get_run(run_id: UUID, parts: AppStateDep, _who: CallerDep) -> dict[str, Any]:
    """How a run stands."""
    return await queries.get_run_view(parts.services, run_id)


@router.post("/{run_id:uuid}/approve", response_model=Run, responses=responses(403, 404, 409))
async def approve(run_id: UUID, body: ApproveRequest, parts: AppStateDep, once: OnceDep) -> JSONResponse:
    """Decide at a gate: approve, ask for changes (`approved: false` with a comment), or reject (without one)."""

    async def do() -> dict[str, Any]:
        await decide(
            parts.services,
            run_id,
            body.gate,
            verdict=body.decision or verdict_of(body.approved, body.comment),
            comment=body.comment,
            edits=body.edits,
            clips=[_noted(clip) for clip in body.clips or []],
            takes=body.takes,
            keep=body.keep,
            digest=body.digest,
            decided_by=once.who.id,
            channel=CHANNEL,
            request=once.key,
        )
        return await queries.get_run_view(parts.services, run_id)

    return await once(body, do)


@router.post("/{run_id:uuid}/cancel", response_model=Run, responses=responses(403, 404, 409))
async def cancel_run(run_id: UUID, parts: AppStateDep, once: OnceDep) -> JSONResponse:
    """End a run. What was ordered already is paid; nothing more is ordered."""

    async def do() -> dict[str, Any]:
        await cancel.cancel_run(
            parts.services, run_id, by=once.who.id, channel=CHANNEL, external_id=f"cancel:{once.external_id}"
        )
        return await queries.get_run_view(parts.services, run_id)

    return await once(None, do)


@router.post("/{run_id:uuid}/retry", response_model=Run, responses=responses(403, 404, 409, 503))
async def retry_run(run_id: UUID, parts: AppStateDep, once: OnceDep, body: RetryRequest | None = None) -> JSONResponse:
    """Let a failed run go on from its last checkpoint. Nothing that was paid is paid again."""
    wanted = body or RetryRequest.model_validate({})

    async def do() -> dict[str, Any]:
        await retry.retry_run(
            parts.services,
            run_id,
            not_made=wanted.not_made,
            prompts=wanted.prompts,
            drop=wanted.drop,
            by=once.who.id,
            channel=CHANNEL,
            external_id=f"retry:{once.external_id}",
        )
        return await queries.get_run_view(parts.services, run_id)

    return await once(body, do)


@router.post("/{run_id:uuid}/fork", response_model=RunStarted, responses=responses(404, 409))
async def fork_run(run_id: UUID, parts: AppStateDep, once: OnceDep, body: ForkRequest | None = None) -> JSONResponse:
    """Begin a new run with the ideas of this one; clips that would be the same are not paid again."""
    wanted = body or ForkRequest.model_validate({})

    async def do() -> dict[str, Any]:
        run = await fork.fork_run(
            parts.services,
            run_id,
            revision=wanted.revision,
            project=wanted.project,
            options=wanted.options,
            edits=wanted.edits,
            budget_usd=wanted.budget_usd,
            started_by=once.who.id,
            channel=CHANNEL,
            request_key=once.key,
        )
        return {"run_id": str(run["id"]), "status": "pending"}

    return await once(body, do)


@router.get("/{run_id:uuid}/quote", response_model=Quote, responses=responses(404, 409))
async def quote_clips(
    run_id: UUID, parts: AppStateDep, _who: CallerDep, clips: Annotated[list[ClipNumber], Query(max_length=24)]
) -> dict[str, Any]:
    """What making these clips again would cost. Decides nothing."""
    return await quote(parts.services, run_id, clips)


def _noted(clip: int | ClipChange) -> ClipNote:
    if isinstance(clip, int):
        return ClipNote(clip=clip, comment="")
    return ClipNote(clip=clip.clip, comment=clip.comment)


def _cursor(run: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(f"{run['created_at']}|{run['run_id']}".encode()).decode()


def _place(cursor: str) -> tuple[datetime, UUID]:
    try:
        created_at, _, run_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition("|")
        place = datetime.fromisoformat(created_at), UUID(run_id)
    except ValueError:
        raise ApiError(422, "invalid_cursor", "The cursor is not one that this API gave.") from None
    if place[0].tzinfo is None:
        raise ApiError(422, "invalid_cursor", "The cursor is not one that this API gave.")
    return place
