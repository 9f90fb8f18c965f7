"""The console in the browser: sign-in, the inbox, and a run."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api import console_reviews, console_runs, console_session, console_start
from api.artifacts import Digest, FileRequestDep
from api.authentication import AppStateDep, authenticate_key, client_address, count_request
from api.console_session import START_PAGE, OptionalSessionDep, SessionDep, local_path, sign_in_response
from api.errors import ApiError
from api.wiring import AppState
from console import pages, sessions
from providers.orders import digest_of
from storage import console_tokens
from storage.inbox import list_inbox

router = APIRouter(route_class=console_session.PageRoute, include_in_schema=False)
router.include_router(console_runs.router)
router.include_router(console_start.router)
#: The last one: its routes have any name after the run.
router.include_router(console_reviews.router)

#: Tries to sign in per minute and address, whether or not they succeed.
SIGN_IN_TRIES = 10
PAGE_ROWS = 50
PageNumber = Annotated[int, Query(ge=1, le=1_000)]
SAME_ORIGIN = [Depends(console_session.require_same_origin)]


@router.get("/")
@router.get("/sign-in")
async def show_sign_in(session: OptionalSessionDep, next: str = START_PAGE) -> Response:  # noqa: A002 - a query name
    """Show the form for an API key; open the console for a browser that has signed in."""
    if session:
        return RedirectResponse(local_path(next), 303)
    return _sign_in_page(next)


@router.post("/sign-in", dependencies=SAME_ORIGIN)
async def sign_in(
    request: Request,
    state: AppStateDep,
    key: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = START_PAGE,  # noqa: A002 - the name of the field
) -> Response:
    """Begin a session with an API key."""
    try:
        await _count_try(request, state)
        row = await authenticate_key(state, {key.strip()} - {""}, client_address(request))
    except ApiError as error:
        return _sign_in_page(next, error)
    return await sign_in_response(request, state, row, next)


@router.get("/sign-in/{token}")
async def show_sign_in_link(token: str) -> HTMLResponse:
    """Show the button that uses a sign-in link. Opening the link does not: programs open links before people do."""
    return HTMLResponse(pages.console_page("sign_in_link.html"))


@router.post("/sign-in/{token}", dependencies=SAME_ORIGIN)
async def use_sign_in_link(token: str, request: Request, state: AppStateDep, next: str = START_PAGE) -> Response:  # noqa: A002
    """Begin a session with a sign-in link."""
    await _count_try(request, state)
    key = await sessions.use_sign_in_link(state.services.db, token)
    if key is None:
        message = "This link was used or has expired. Restart `myloware serve` for another, or sign in with an API key."
        return _sign_in_page(next, ApiError(410, "link_used", message))
    return await sign_in_response(request, state, key, next)


@router.post("/sign-out")
async def sign_out(request: Request, state: AppStateDep, _session: SessionDep) -> Response:
    """End the session."""
    await console_tokens.delete_session(state.services.db, request.cookies[console_session.COOKIE])
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(console_session.COOKIE, httponly=True, samesite="lax")
    return response


@router.get("/inbox")
async def show_inbox(
    request: Request, state: AppStateDep, session: SessionDep, page: PageNumber = 1, version: str = ""
) -> Response:
    """Show what waits for a person. To htmx, which polls, send the rows if they are not those of `version`."""
    rows = await list_inbox(state.services.db, limit=PAGE_ROWS + 1, offset=(page - 1) * PAGE_ROWS)
    is_part = "hx-request" in request.headers
    current = digest_of(repr(rows))[:16]
    if is_part and version == current:
        return Response(None, 204)
    template = "inbox_rows.html" if is_part else "inbox.html"
    more = {"number": page, "version": current, "has_more": len(rows) > PAGE_ROWS}
    return HTMLResponse(pages.console_page(template, session, path="/inbox", rows=rows[:PAGE_ROWS], **more))


@router.get("/media/{digest}")
async def stream_media(digest: Digest, _session: SessionDep, file: FileRequestDep) -> Response:
    """Return a stored film, clip or image, whole or in part."""
    return await file.respond(digest)


def _sign_in_page(next_page: str, error: ApiError | None = None) -> HTMLResponse:
    """Return the form for an API key, with the error of the last try."""
    page = pages.console_page("sign_in.html", next_page=local_path(next_page), problem=error and error.message)
    return HTMLResponse(page, error.status if error else 200, error.headers if error else None)


async def _count_try(request: Request, state: AppState) -> None:
    """Count a try to sign in. Raises ApiError 429."""
    await count_request(state, f"sign-in:{client_address(request)}", limit=SIGN_IN_TRIES)
