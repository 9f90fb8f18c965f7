"""The session of a browser in the console: its cookie, its CSRF token, and errors as pages."""

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api.authentication import AppStateDep
from api.errors import ApiError, invalid_request, to_api_error
from api.wiring import AppState
from console import pages, sessions
from console.sessions import SESSION_LIFETIME, Session
from storage import console_tokens
from storage.api_keys import ApiKeyRow

COOKIE = "myloware_session"
START_PAGE = "/inbox"


class SignInRequired(Exception):
    """The request has no session, or one that has ended."""


class PageRoute(APIRoute):
    """A route of the console. Its responses have the headers of pages, and errors are shown as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                response = await handler(request)
            except SignInRequired:
                response = _to_sign_in(request)
            except HTTPException:
                raise
            except RequestValidationError as error:
                response = error_page(request, invalid_request(error))
            except Exception as error:
                response = error_page(request, to_api_error(error))
            for name, value in pages.CONSOLE_HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return handle


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


async def sign_in_response(request: Request, state: AppState, key: ApiKeyRow, next_page: str) -> Response:
    """Begin a session of this key and return the redirect that sets its cookie."""
    response = RedirectResponse(local_path(next_page), 303)
    response.set_cookie(
        COOKIE,
        await console_tokens.add_token(state.services.db, "session", key.id, SESSION_LIFETIME),
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=is_https(request, state.settings.public_url),
    )
    return response


def local_path(next_page: str) -> str:
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
