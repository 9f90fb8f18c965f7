"""Authentication of API keys, and the rate limit."""

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from api.errors import ApiError, too_many_requests
from api.wiring import AppState
from storage import api_keys
from storage.api_keys import ApiKeyRow
from storage.rate_limits import admit

RATE_LIMIT_WINDOW_SECONDS = 60

_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="Your API key.")


def app_state(request: Request) -> AppState:
    """Return the state of the app that serves the request."""
    state: AppState = request.app.state.app_state
    return state


AppStateDep = Annotated[AppState, Depends(app_state)]
ApiKeyHeader = Annotated[str | None, Security(_header)]


async def authenticate(request: Request, state: AppStateDep, key: ApiKeyHeader = None) -> ApiKeyRow:
    """Return the API key of the request and count the request. Raises ApiError 401 or 429."""
    return await authenticate_key(request, state, key)


async def authenticate_key(request: Request, state: AppState, key: str | None) -> ApiKeyRow:
    """Return the row of an API key and count the request. Raises ApiError 401 or 429.

    Requests without a valid key are counted separately, by client address.
    """
    row = await api_keys.find_key(state.services.db, key) if key else None
    await count_request(state, row.id if row else client_address(request))
    if row is None:
        if key:
            raise ApiError(401, "invalid_api_key", "Invalid API key.")
        raise ApiError(401, "missing_api_key", "Missing API key. Send it in the X-API-Key header.")
    return row


def bearer_token(request: Request) -> str | None:
    """Return the token of an `Authorization: Bearer` header, or None."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def client_address(request: Request) -> str:
    """Return the name under which requests from this client address are counted."""
    return f"address:{request.client.host if request.client else 'unknown'}"


async def count_request(state: AppState, client: str) -> None:
    """Count a request of `client`. Raises ApiError 429 when the rate limit is exceeded."""
    wait_seconds = await admit(state.services.db, client, limit=state.rate_limit, seconds=RATE_LIMIT_WINDOW_SECONDS)
    if wait_seconds:
        message = f"Rate limit exceeded: {state.rate_limit} requests per minute. Retry in {wait_seconds} s."
        raise too_many_requests("rate_limited", message, wait_seconds)


CallerDep = Annotated[ApiKeyRow, Depends(authenticate)]
