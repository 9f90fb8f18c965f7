"""The reviews and the history of a run, and the creation of reviewers' links."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from api.authentication import AppStateDep, CallerDep, IdempotentDep
from api.errors import responses
from api.schemas import RequestBody
from graph.decisions import Gate
from runs import history, links, reviews
from runs.history import History
from runs.reviews import ReviewView
from storage.reviews import record_served

router = APIRouter(prefix="/v1/runs", tags=["reviews"], responses=responses(401, 422, 429))


class ReviewList(BaseModel):
    """All reviews of a run, oldest first."""

    reviews: list[ReviewView]


class CreateLinkRequest(RequestBody):
    """The gate whose open review the link opens, and the lifetime of the link."""

    gate: Gate
    expires_in_hours: float = Field(links.DEFAULT_HOURS, gt=0, le=links.MAX_HOURS, allow_inf_nan=False)


class LinkCreated(BaseModel):
    """A reviewer's link. It can be used for one decision on one review, without an API key."""

    url: str
    expires_at: datetime


@router.get("/{run_id:uuid}/reviews", responses=responses(404))
async def list_reviews(run_id: UUID, state: AppStateDep, caller: CallerDep) -> ReviewList:
    """Return all reviews of a run: content, changes since the previous review, deadline and decision."""
    found = await reviews.list_reviews(state.services, run_id)
    await record_served(state.services.db, caller.actor, run_id, map(vars, found))
    return ReviewList(reviews=found)


@router.get("/{run_id:uuid}/history", responses=responses(404, 410))
async def get_history(run_id: UUID, state: AppStateDep, caller: CallerDep) -> History:
    """Return the history of a run: every revision, decision, take, charge and post in order, with time and actor."""
    return await history.get_history(state.services.db, state.services.ledger, run_id, served_to=caller.actor)


@router.post("/{run_id:uuid}/reviews/link", response_model=LinkCreated, responses=responses(400, 403, 404, 409, 413))
async def create_link(
    run_id: UUID, body: CreateLinkRequest, request: Request, state: AppStateDep, idempotent: IdempotentDep
) -> JSONResponse:
    """Create a link that opens the open review of this gate and decides it once, without an API key."""

    async def process() -> LinkCreated:
        db, hours, context = state.services.db, body.expires_in_hours, idempotent.context
        url, link = await links.create_link(db, run_id, body.gate, state.base_url, hours=hours, context=context)
        return LinkCreated(url=url, expires_at=link.expires_at)

    return await idempotent(body, process)
