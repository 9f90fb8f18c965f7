"""Authentication of API keys, and the rate limit."""

from collections.abc import Collection
from datetime import UTC
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.errors import ApiError, too_many_requests
from api.wiring import AppState
from storage import api_keys
from storage.api_keys import ApiKeyRow
from storage.rate_limits import admit

API_KEY_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="Your API key.")
BEARER = HTTPBearer(auto_error=False, description="Your API key, as a bearer token.")


async def app_state(request: Request) -> AppState:
    """Return the state of the app that serves the request. A function that is not async would run in a thread."""
    state: AppState = request.app.state.app_state
    return state


AppStateDep = Annotated[AppState, Depends(app_state)]


async def authenticate(
    request: Request,
    state: AppStateDep,
    _header: Annotated[str | None, Security(API_KEY_HEADER)] = None,
    _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)] = None,
) -> ApiKeyRow:
    """Return the row of the request's API key and count the request. Raises ApiError 401 or 429."""
    # The headers are parameters for the OpenAPI description: not every caller is a route.
    bearer = await BEARER(request)
    sent = {key for key in (await API_KEY_HEADER(request), bearer and bearer.credentials) if key}
    return await authenticate_key(state, sent, client_address(request))


CallerDep = Annotated[ApiKeyRow, Depends(authenticate)]


async def authenticate_key(state: AppState, sent: Collection[str], client: str) -> ApiKeyRow:
    """Return the row of the one API key that was sent. Raises ApiError 401 or 429.

    The request is counted for the key, and without a valid one for `client`.
    """
    key = next(iter(sent)) if len(sent) == 1 else None
    limit = state.settings.rate_limit
    row, wait = await api_keys.authenticate(state.services.db, key, client, limit=limit)
    _check_wait(limit, wait)
    if row is None or row.has_ended:
        raise _refusal(len(sent), row)
    return row


def _refusal(sent: int, row: ApiKeyRow | None) -> ApiError:
    """Return the error for a request with so many API keys, or with this one, which has ended."""
    if sent == 0:
        text = "Missing API key. Send it in the X-API-Key header or as a bearer token."
        return ApiError(401, "missing_api_key", text)
    text = "Invalid API key."
    if sent > 1:
        text = "X-API-Key and Authorization contain different API keys: send one of them."
    elif row is not None:
        at = row.revoked_at or row.expires_at or row.created_at
        verb = "was revoked" if row.revoked_at else "expired"
        text = f"The API key “{row.name}” {verb} on {at.astimezone(UTC):%Y-%m-%d at %H:%M} UTC: use another key."
    return ApiError(401, "invalid_api_key", text)


def client_address(request: Request) -> str:
    """Return the name under which requests from this client address are counted."""
    return f"address:{request.client.host if request.client else 'unknown'}"


async def count_request(state: AppState, client: str, *, limit: int | None = None) -> None:
    """Count a request of `client`. Raises ApiError 429 when its limit, by default that of the API, is exceeded."""
    limit = limit or state.settings.rate_limit
    _check_wait(limit, await admit(state.services.db, client, limit=limit))


def _check_wait(limit: int, wait: int) -> None:
    """Raise ApiError 429 if a request has to wait so many seconds."""
    if wait:
        message = f"Rate limit exceeded: {limit} requests per minute. Retry in {wait} s."
        raise too_many_requests("rate_limited", message, wait)


async def require_admin(caller: CallerDep) -> ApiKeyRow:
    """Return the API key of the request, which must be one of an administrator. Raises ApiError 401, 403 or 429."""
    if "admin" not in caller.actor.rights:
        raise ApiError(403, "admin_required", "API key lacks the right admin, which managing keys requires.")
    return caller
