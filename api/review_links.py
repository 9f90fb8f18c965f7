"""`/review/{token}`: the page that a reviewer's link opens, also as JSON, and the decision on it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, Field, ValidationError

from api.artifacts import FILE_RESPONSES, FileRequest, FileRequestDep
from api.authentication import AppStateDep, client_address, count_request
from api.console_reviews import ReviewPage, describe_outcome
from api.console_session import note_sandbox
from api.errors import ApiError, responses, to_api_error
from api.schemas import ClipNumbers, RequestBody, Text
from api.wiring import AppState
from console import pages
from graph.decisions import DecisionInput, Gate, Verdict
from graph.review_content import FilmContent, IdeasContent
from prompts.validation import describe_errors
from runs import links
from runs.links import OpenedLink
from runs.reviews import OpenedReview, read_film_parts

router = APIRouter(prefix="/review", tags=["reviewer's link"], dependencies=[Depends(note_sandbox)])

PAGE: dict[str, Any] = {"text/html": {"schema": {"type": "string"}}}
ERRORS = {status: {**error, "content": PAGE} for status, error in responses(400, 404, 409, 410, 413, 422, 429).items()}


class LinkReview(OpenedReview):
    """The review that a reviewer's link opens."""

    run_id: UUID
    project: str
    brief: str
    expires_at: datetime
    previous_comment: str | None
    film_url: str | None


class LinkDecision(RequestBody):
    """A reviewer's decision. A request for changes names them in the comment."""

    decision: Verdict
    comment: Text | None = Field(None, max_length=4_000)
    sample: ClipNumbers = Field([])
    """Ideation, with an approval: generate only these clips before the others."""
    publish_at: Text | None = Field(None, max_length=64)
    """Publish, with an approval: the time with its zone, in ISO 8601, before which nothing is posted."""


class LinkDecisionResult(BaseModel):
    """The recorded decision of a reviewer."""

    run_id: UUID
    gate: Gate
    revision: int
    decision: Verdict
    message: str


_CONTENT = {"application/json": {"schema": LinkDecision.model_json_schema()}}
BODY: dict[str, Any] = {"requestBody": {"required": True, "content": _CONTENT}}


@router.get("/{token}", response_model=LinkReview, responses={**ERRORS, 200: {"content": PAGE}})
async def show_review(token: str, request: Request, state: AppStateDep) -> Response:
    """Return the review that the link opens: a page, or JSON for clients that accept only JSON."""
    as_json = _accepts_json(request)
    try:
        await count_request(state, f"link:{client_address(request)}")
        opened = await links.open_link(state.services, token)
    except Exception as error:
        # Every error is shown as a page, because a person reads it in a browser.
        return _error_response(error, as_json)
    if as_json:
        film_url = f"/review/{token}/film" if opened.link.gate == "publish" else None
        fields = {**vars(opened.run), **dict(opened.review), **vars(opened.link), "film_url": film_url}
        review = LinkReview.model_validate({**fields, "previous_comment": opened.previous_comment})
        return JSONResponse(review.model_dump(mode="json"), headers=pages.HEADERS)
    return await _respond(request, state, token)


@router.post(
    "/{token}",
    response_model=LinkDecisionResult,
    responses={**ERRORS, 415: {**responses(415)[415], "content": PAGE}, 200: {"content": PAGE}},
    openapi_extra=BODY,
)
async def decide_by_link(token: str, request: Request, state: AppStateDep) -> Response:
    """Decide on the review that the link opens, by JSON or by the form of its page."""
    as_json = _accepts_json(request)
    try:
        await count_request(state, f"link:{client_address(request)}")
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            return await _respond(request, state, token)
        decision = await _parse_decision(request)
        fields = decision.model_dump(exclude={"decision", "comment"})
        chosen = DecisionInput(verdict=decision.decision, comment=decision.comment or "", **fields)
        opened = await links.decide_by_link(state.services, token, chosen)
    except Exception as error:
        return _error_response(error, as_json)
    message = describe_outcome(opened.review.gate, chosen)
    if not as_json:
        return HTMLResponse(pages.message_page(decision.decision, message), headers=pages.HEADERS)
    fields = {**vars(opened.link), "decision": decision.decision, "message": message}
    return JSONResponse(LinkDecisionResult.model_validate(fields).model_dump(mode="json"), headers=pages.HEADERS)


#: The declaration of a route that serves a file while the link is valid.
_FILE_RESPONSES = {**responses(400, 409, 410, 429), **FILE_RESPONSES}
FILE_ROUTE: dict[str, Any] = {"response_class": Response, "responses": _FILE_RESPONSES}


@router.head("/{token}/film", **FILE_ROUTE)
@router.get("/{token}/film", **FILE_ROUTE)
async def stream_film(token: str, request: Request, state: AppStateDep, file: FileRequestDep) -> Response:
    """Return the film of the review while the link is valid."""
    content = (await _open_to_stream(request, state, token)).review.content
    if not isinstance(content, FilmContent):
        raise ApiError(404, "no_film", "The review has no film.")
    return await _stream(file, content.film.digest)


@router.head("/{token}/clips/{clip}", **FILE_ROUTE)
@router.get("/{token}/clips/{clip}", **FILE_ROUTE)
async def stream_clip(
    token: str, clip: int, request: Request, state: AppStateDep, file: FileRequestDep, take: int | None = None
) -> Response:
    """Return a clip that is generated already, or this take of a clip of the film, while the link is valid."""
    opened = await _open_to_stream(request, state, token)
    digest, film = opened.clips.get(clip), opened.review.content
    if take is not None and isinstance(film, FilmContent):
        digest = (await read_film_parts(state.services.ledger, opened.run.id, film)).takes.get((clip, take))
    if digest is None:
        raise ApiError(404, "no_clip", f"The review shows no clip {clip}.")
    return await _stream(file, digest)


@router.get("/{token}/images/{idea}", **FILE_ROUTE)
async def show_image(token: str, idea: int, request: Request, state: AppStateDep, file: FileRequestDep) -> Response:
    """Return the image that the clip of an idea starts from, while the link is valid."""
    content = (await _open_to_stream(request, state, token)).review.content
    images = [each.image for each in content.ideas] if isinstance(content, IdeasContent) else []
    if not 1 <= idea <= len(images) or not images[idea - 1]:
        raise ApiError(404, "no_image", f"The review shows no image of idea {idea}.")
    return await _stream(file, images[idea - 1])


async def _open_to_stream(request: Request, state: AppState, token: str) -> OpenedLink:
    # A player requests a film in many parts. They are counted separately, so that playback leaves room to decide.
    await count_request(state, f"film:{client_address(request)}")
    return await links.open_link(state.services, token)


async def _stream(file: FileRequest, digest: str) -> Response:
    response = await file.respond(digest)
    response.headers.update({**pages.HEADERS, "Cache-Control": "private, max-age=600"})
    return response


async def _parse_decision(request: Request) -> LinkDecision:
    """Return the decision of a JSON body. Raises ApiError 415 or 422."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "unsupported_media_type", "Send the decision as JSON, or by the form of the page.")
    try:
        return LinkDecision.model_validate_json(await request.body())
    except ValidationError as error:
        fault = describe_errors(error.errors(), root="body")
        field, _, message = fault.partition(": ")
        raise ApiError(422, "invalid_request", f"{fault}.", {"fields": {field: message}}) from None


async def _respond(request: Request, state: AppState, token: str) -> Response:
    """Return the page of a review with the headers of a link: its URL is not passed on."""
    response = await ReviewPage(state, token=token).respond(request)
    response.headers.update({**pages.CONSOLE_HEADERS, "Referrer-Policy": "no-referrer"})
    return response


def _accepts_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    if "text/html" in accepted:
        return False
    return "application/json" in accepted or request.headers.get("content-type", "").startswith("application/json")


def _error_response(error: Exception, as_json: bool) -> Response:
    known = to_api_error(error)
    headers = {**pages.HEADERS, **(known.headers or {})}
    if as_json:
        return JSONResponse(known.body, known.status, headers)
    return HTMLResponse(pages.message_page(known.code, known.message), known.status, headers)
