"""Reviews: every one of a run, its record, and the link that opens one to somebody without a key."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from fastapi import Request as HttpRequest
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from api.artifacts import BYTES, file_answer
from api.authentication import AppStateDep, CallerDep, base_url, client_address, count_request
from api.errors import ApiError, responses, to_api_error
from api.idempotency import IdempotentRequest
from api.schemas import RequestBody, Text
from api.wiring import AppState
from console import pages
from graph.state import Gate
from runs import history, review_links, reviews
from runs.errors import InvalidRequest, RunError
from runs.history import History
from runs.review_links import OpenedLink
from runs.reviews import Change, Review

CHANNEL = "api"

runs_router = APIRouter(prefix="/v1/runs", tags=["reviews"], responses=responses(401, 422, 429))
link_router = APIRouter(prefix="/review", tags=["reviewer's link"])


class ReviewList(BaseModel):
    """Every review of a run, in the order in which they were opened."""

    reviews: list[Review]


class CreateLinkRequest(RequestBody):
    """Which gate's open review the link is for, and for how long."""

    gate: Gate
    expires_in_hours: float = Field(review_links.HOURS, gt=0, le=review_links.LONGEST_HOURS, allow_inf_nan=False)


class LinkCreated(BaseModel):
    """A reviewer's link. Whoever has it can decide this one review, once."""

    url: str
    expires_at: datetime


class LinkReview(BaseModel):
    """What a reviewer's link shows."""

    run_id: UUID
    project: str
    brief: str
    gate: Gate
    revision: int
    digest: str
    content: dict[str, Any]
    opened_at: datetime
    due_at: datetime | None
    on_due: str | None
    expires_at: datetime
    changes: list[Change]
    previous_comment: str | None
    film_url: str | None


class LinkDecision(RequestBody):
    """A reviewer's decision. To ask for changes, say in the comment which."""

    decision: Literal["approve", "revise", "reject"]
    comment: Text | None = Field(None, max_length=4_000)


class LinkDecisionResult(BaseModel):
    """What came of a reviewer's decision."""

    run_id: UUID
    gate: Gate
    revision: int
    decision: str
    message: str


_reviews, _history = TypeAdapter(list[Review]), TypeAdapter(History)


@runs_router.get("/{run_id:uuid}/reviews", response_model=ReviewList, responses=responses(404))
async def list_reviews(run_id: UUID, parts: AppStateDep, _who: CallerDep) -> JSONResponse:
    """Every review of a run: what it showed, what changed since the one before, when it is due, what was decided."""
    found = await reviews.list_reviews(parts.services, run_id)
    return JSONResponse({"reviews": _reviews.dump_python(found, mode="json")})


@runs_router.get("/{run_id:uuid}/history", response_model=History, responses=responses(404))
async def get_history(run_id: UUID, parts: AppStateDep, _who: CallerDep) -> JSONResponse:
    """The record: every revision, decision, take, charge and post in order, with who and when."""
    return JSONResponse(_history.dump_python(await history.get_history(parts.services, run_id), mode="json"))


@runs_router.post(
    "/{run_id:uuid}/reviews/link", response_model=LinkCreated, responses=responses(400, 403, 404, 409, 413)
)
async def create_link(
    run_id: UUID,
    body: CreateLinkRequest,
    request: HttpRequest,
    parts: AppStateDep,
    once: Annotated[IdempotentRequest, Depends()],
) -> JSONResponse:
    """A link that opens the open review of this gate, and decides it once, without a key."""

    async def do() -> dict[str, Any]:
        token, link = await review_links.create_link(
            parts.services,
            run_id,
            body.gate,
            hours=body.expires_in_hours,
            made_by=once.who.id,
            channel=CHANNEL,
        )
        return {"url": f"{base_url(request, parts)}/review/{token}", "expires_at": link.expires_at.isoformat()}

    return await once(body, do)


PAGE: dict[str, Any] = {"text/html": {"schema": {"type": "string"}}}
REFUSALS = {status: {**said, "content": PAGE} for status, said in responses(404, 409, 410, 413, 422, 429).items()}
DECISION: dict[str, Any] = {"schema": LinkDecision.model_json_schema()}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": DECISION, "application/x-www-form-urlencoded": DECISION},
    }
}


@link_router.get("/{token}", response_model=LinkReview, responses={**REFUSALS, 200: {"content": PAGE}})
async def show_review(token: str, request: HttpRequest, parts: AppStateDep) -> Response:
    """The review that the link opens: a page, or JSON for who accepts nothing else."""
    as_json = _wants_json(request)
    try:
        await count_request(parts, f"link:{client_address(request)}")
        view = _view(await review_links.open_link(parts.services, token), token)
    except Exception as error:
        # A person reads it in a browser, whatever it is.
        return _refusal(error, as_json)
    if as_json:
        return _answer(view.model_dump(mode="json"), as_json=True)
    return _answer(pages.review_page(view.model_dump(mode="json"), token=token), as_json=False)


@link_router.post(
    "/{token}",
    response_model=LinkDecisionResult,
    responses={**REFUSALS, **responses(415), 200: {"content": PAGE}},
    openapi_extra=BODY,
)
async def decide_by_link(token: str, request: HttpRequest, parts: AppStateDep) -> Response:
    """Decide the review that the link opens, by form or by JSON."""
    as_json = _wants_json(request)
    try:
        await count_request(parts, f"link:{client_address(request)}")
        said = await _said(request)
        opened = await review_links.decide_by_link(parts.services, token, verdict=said.decision, comment=said.comment)
    except InvalidRequest as error:
        if not as_json:
            return await _asked_again(parts, token, error, said.comment or "")
        return _refusal(error, as_json)
    except Exception as error:
        return _refusal(error, as_json)
    message = _thanks(said.decision, opened)
    if not as_json:
        return _answer(pages.answer_page(said.decision, message), as_json=False)
    link = opened.link
    answer = LinkDecisionResult(
        run_id=link.run_id, gate=link.gate, revision=link.revision, decision=said.decision, message=message
    )
    return _answer(answer.model_dump(mode="json"), as_json=True)


@link_router.get(
    "/{token}/film",
    response_class=Response,
    responses={**responses(404, 409, 410, 416, 429), 200: BYTES, 206: BYTES, 304: {"description": "You have it."}},
)
async def stream_film(
    token: str,
    request: HttpRequest,
    parts: AppStateDep,
    range: Annotated[str | None, Header(max_length=200)] = None,  # noqa: A002 - the header's name
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """The film of the review that the link opens, as long as it does."""
    # A player asks for a film in many parts; they are counted apart, so that watching leaves room for deciding.
    await count_request(parts, f"film:{client_address(request)}")
    opened = await review_links.open_link(parts.services, token)
    film = opened.review["content"].get("film")
    if film is None:
        raise ApiError(404, "no_film", "There is no film in this review.")
    answer = await file_answer(parts.services.artifacts, film["digest"], range, if_none_match)
    answer.headers.update({**pages.HEADERS, "Cache-Control": "private, max-age=600"})
    return answer


def _view(opened: OpenedLink, token: str) -> LinkReview:
    link, run, review = opened.link, opened.run, opened.review
    shared = {key: review[key] for key in ("digest", "content", "opened_at", "due_at", "on_due", "changes")}
    return LinkReview(
        run_id=link.run_id,
        project=run["project"],
        brief=run["brief"],
        gate=link.gate,
        revision=link.revision,
        expires_at=link.expires_at,
        previous_comment=opened.previous_comment,
        film_url=f"/review/{token}/film" if "film" in review["content"] else None,
        **shared,
    )


async def _said(request: HttpRequest) -> LinkDecision:
    """What was sent, by form or as JSON. Raises ApiError 415 and 422."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    try:
        if kind == "application/json":
            return LinkDecision.model_validate_json(body)
        if kind == "application/x-www-form-urlencoded":
            fields = dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=10))
            return LinkDecision.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, ("body", *first["loc"])))
        raise ApiError(422, "invalid_request", f"{place}: {first['msg']}.", {"fields": {place: first["msg"]}}) from None
    except ValueError:
        raise ApiError(422, "invalid_request", "The form has too many fields.") from None
    raise ApiError(415, "unsupported_media_type", "Send the decision as a form, or as JSON.")


async def _asked_again(parts: AppState, token: str, error: InvalidRequest, comment: str) -> Response:
    """The same page, with what is wrong and with what was typed."""
    try:
        view = _view(await review_links.open_link(parts.services, token), token)
    except RunError as refusal:
        return _refusal(refusal, as_json=False)
    page = pages.review_page(view.model_dump(mode="json"), token=token, problem=error.message, comment=comment)
    return _answer(page, as_json=False, status=422)


def _thanks(verdict: str, opened: OpenedLink) -> str:
    ideation = opened.link.gate == "ideation"
    match verdict:
        case "approve":
            return "Thank you. The clips are being made." if ideation else "Thank you. The film is being published."
        case "revise":
            return "Thank you. It is being changed, and a new revision will be shown for review."
    return "Thank you. The run ends here; " + ("no clip is made." if ideation else "nothing is published.")


def _wants_json(request: HttpRequest) -> bool:
    accepted = request.headers.get("accept", "")
    if "text/html" in accepted:
        return False
    return "application/json" in accepted or request.headers.get("content-type", "").startswith("application/json")


def _refusal(error: Exception, as_json: bool) -> Response:
    known = to_api_error(error)
    said = known.body["error"]
    content = known.body if as_json else pages.refusal_page(said["code"], said["message"])
    return _answer(content, as_json=as_json, status=known.status, headers=known.headers)


def _answer(content: Any, *, as_json: bool, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    kind = JSONResponse if as_json else HTMLResponse
    return kind(content, status, {**pages.HEADERS, **(headers or {})})
