"""The console in the browser: sign-in and the inbox."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.authentication import AppStateDep, authenticate_key, client_address, count_request
from api.console_session import (
    COOKIE,
    START_PAGE,
    OptionalSessionDep,
    PageRoute,
    SessionDep,
    local_path,
    require_same_origin,
    sign_in_response,
)
from api.errors import ApiError
from api.wiring import AppState
from console import pages, sessions

router = APIRouter(route_class=PageRoute, include_in_schema=False)

#: Tries to sign in per minute and address, whether or not they succeed.
SIGN_IN_TRIES = 10
SAME_ORIGIN = [Depends(require_same_origin)]


@router.get("/")
@router.get("/sign-in")
async def show_sign_in(session: OptionalSessionDep, next: str = START_PAGE) -> Response:  # noqa: A002 - a query name
    """Show the form for an API key; open the console for a browser that has signed in."""
    if session:
        return RedirectResponse(local_path(next), 303)
    return HTMLResponse(pages.sign_in_page(next_page=local_path(next)))


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
        sent = {key.strip()} - {""}
        row = await authenticate_key(state, sent, client_address(request))
    except ApiError as error:
        message = "Enter an API key." if error.code == "missing_api_key" else error.message
        page = pages.sign_in_page(next_page=local_path(next), problem=message)
        return HTMLResponse(page, error.status, error.headers)
    return await sign_in_response(request, state, row, next)


@router.get("/sign-in/{token}")
async def show_sign_in_link(token: str) -> HTMLResponse:
    """Show the button that uses a sign-in link. Opening the link does not: programs open links before people do."""
    return HTMLResponse(pages.sign_in_link_page())


@router.post("/sign-in/{token}", dependencies=SAME_ORIGIN)
async def use_sign_in_link(token: str, request: Request, state: AppStateDep) -> Response:
    """Begin a session with a sign-in link."""
    await _count_try(request, state)
    key = await sessions.use_sign_in_link(state.services.db, token)
    if key is None:
        message = "This link was used or has expired. Restart `myloware serve` for another, or sign in with an API key."
        return HTMLResponse(pages.sign_in_page(next_page=START_PAGE, problem=message), 410)
    return await sign_in_response(request, state, key, START_PAGE)


@router.post("/sign-out")
async def sign_out(request: Request, state: AppStateDep, _session: SessionDep) -> Response:
    """End the session."""
    await sessions.end_session(state.services.db, request.cookies[COOKIE])
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return response


@router.get("/inbox")
async def show_inbox(session: SessionDep) -> HTMLResponse:
    """Show what waits for a person."""
    return HTMLResponse(pages.console_page("inbox.html", session, path="/inbox"))


async def _count_try(request: Request, state: AppState) -> None:
    """Count a try to sign in. Raises ApiError 429."""
    await count_request(state, f"sign-in:{client_address(request)}", limit=SIGN_IN_TRIES)
