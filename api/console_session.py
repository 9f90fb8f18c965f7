"""The session of a browser in the console: sign-in, its cookie, its CSRF token, and errors as pages."""

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api.authentication import AppStateDep, authenticate_key, client_address, count_request
from api.errors import ApiError, to_api_error
from api.wiring import AppState
from console import pages, sessions
from console.sessions import SESSION_LIFETIME, Session
from storage import api_keys
from storage.api_keys import ApiKeyRow

COOKIE = "myloware_session"
START_PAGE = "/inbox"
#: Tries to sign in per minute and address, whether or not they succeed.
SIGN_IN_TRIES = 10


class SignInRequired(Exception):
    """The request has no session, or one that has ended."""


class PageRoute(APIRoute):
    """A route of the console. Its responses have the headers of pages, and errors are shown as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            await note_sandbox(request)
            try:
                response = await handler(request)
            except SignInRequired:
                response = _to_sign_in(request)
            except HTTPException:
                raise
            except Exception as error:
                response = error_page(request, to_api_error(error))
            for name, value in pages.CONSOLE_HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return handle


async def note_sandbox(request: Request) -> None:
    """Let the pages of this request name the services that the sandbox replaces."""
    pages.SANDBOX_SERVICES.set(request.app.state.app_state.settings.sandbox_services)


router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def find_request_session(request: Request, state: AppStateDep) -> Session | None:
    """Return the session of the request, or None."""
    return await sessions.find_session(state.services.db, request.cookies.get(COOKIE))


OptionalSessionDep = Annotated[Session | None, Depends(find_request_session)]


async def require_session(request: Request, session: OptionalSessionDep) -> Session:
    """Return the session of the request. Raises SignInRequired, or ApiError 403 for a change without its CSRF token."""
    if session is None:
        raise SignInRequired
    if request.method not in ("GET", "HEAD"):
        sent = request.headers.get("x-csrf-token") or (await request.form()).get("csrf_token")
        if not session.accepts(str(sent)):
            raise ApiError(403, "csrf_token_invalid", "This form is not of your session. Reload the page and repeat.")
    return session


async def require_same_origin(request: Request) -> None:
    """Refuse a form of another site, which could sign a visitor in with a key of its own. Raises ApiError 403."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ApiError(403, "origin_not_allowed", "This form is of another site. Open the sign-in page and repeat.")


SessionDep = Annotated[Session, Depends(require_session)]


@router.get("/")
@router.get("/sign-in")
async def show_sign_in(session: OptionalSessionDep, next: str = START_PAGE) -> Response:  # noqa: A002 - a query name
    """Show the form for an API key; open the console for a browser that has signed in."""
    if session:
        return RedirectResponse(_local_path(next), 303)
    return _sign_in_page(next)


@router.post("/sign-in", dependencies=[Depends(require_same_origin)])
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
    return await _sign_in_response(request, state, row, next)


@router.get("/sign-in/{token}")
async def show_sign_in_link(token: str) -> HTMLResponse:
    """Show the button that uses a sign-in link. Opening the link does not: programs open links before people do."""
    return HTMLResponse(pages.console_page("sign_in_link.html"))


@router.post("/sign-in/{token}", dependencies=[Depends(require_same_origin)])
async def use_sign_in_link(token: str, request: Request, state: AppStateDep, next: str = START_PAGE) -> Response:  # noqa: A002
    """Begin a session with a sign-in link."""
    await _count_try(request, state)
    key = await sessions.use_sign_in_link(state.services.db, token)
    if key is None:
        message = "This link was used or has expired. Restart `myloware serve` for another, or sign in with an API key."
        return _sign_in_page(next, ApiError(410, "link_used", message))
    return await _sign_in_response(request, state, key, next)


@router.post("/sign-out")
async def sign_out(request: Request, state: AppStateDep, _session: SessionDep) -> Response:
    """End the session."""
    await api_keys.delete_session(state.services.db, request.cookies[COOKIE])
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return response


async def _sign_in_response(request: Request, state: AppState, key: ApiKeyRow, next_page: str) -> Response:
    """Begin a session of this key and return the redirect that sets its cookie."""
    response = RedirectResponse(_local_path(next_page), 303)
    response.set_cookie(
        COOKIE,
        await api_keys.add_token(state.services.db, "session", key.id, SESSION_LIFETIME),
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=is_https(request, state.settings.public_url),
    )
    return response


def _local_path(next_page: str) -> str:
    """Return this page if it is one of this service, and otherwise the start page."""
    return next_page if re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", next_page) else START_PAGE


def error_page(request: Request, error: ApiError, session: Session | None = None, **typed: Any) -> Response:
    """Return an error as a page with what was typed, or to htmx as a part of one, which the page shows in place."""
    is_part = "hx-request" in request.headers
    request_id = getattr(request.state, "request_id", "") if error.status >= 500 else ""
    template = "problem_part.html" if is_part else "problem.html"
    typed |= {"code": error.code, "message": error.message, "request_id": request_id}
    content = pages.console_page(template, session, **typed)
    return HTMLResponse(content, error.status, error.headers)


def _to_sign_in(request: Request) -> Response:
    """Return the redirect to the form, and from there back to the page that the browser shows."""
    is_part = "hx-request" in request.headers
    current = urlsplit(request.headers.get("hx-current-url", "") if is_part else str(request.url))
    page = f"{current.path}?{current.query}" if current.query else current.path
    target = f"/sign-in?next={quote(page)}" if is_part or request.method == "GET" else "/sign-in"
    return Response(None, 401, {"HX-Redirect": target}) if is_part else RedirectResponse(target, 303)


def is_https(request: Request, public_url: str | None) -> bool:
    """Return whether the browser uses https: also if a proxy forwards its requests without it."""
    public = urlsplit(public_url or "")
    return "https" in (request.url.scheme, public.scheme if public.hostname == request.url.hostname else "")


def _sign_in_page(next_page: str, error: ApiError | None = None) -> HTMLResponse:
    """Return the form for an API key, with the error of the last try."""
    page = pages.console_page("sign_in.html", next_page=_local_path(next_page), problem=error and error.message)
    return HTMLResponse(page, error.status if error else 200, error.headers if error else None)


async def _count_try(request: Request, state: AppState) -> None:
    """Count a try to sign in. Raises ApiError 429."""
    await count_request(state, f"sign-in:{client_address(request)}", limit=SIGN_IN_TRIES)
