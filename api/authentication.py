"""Who asks: the API key of a request, and how often it may ask."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from api.errors import ApiError
from api.wiring import AppState
from storage import api_keys
from storage.api_keys import ApiKeyRow
from storage.rate_limits import admit

WINDOW_SECONDS = 60

_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="Your API key.")


def app_state(request: Request) -> AppState:
    """The parts behind this app."""
    found: AppState = request.app.state.app_state
    return found


AppStateDep = Annotated[AppState, Depends(app_state)]


#: The key of a request, as it was sent.
ApiKeyHeader = Annotated[str | None, Security(_header)]


async def authenticate(request: Request, parts: AppStateDep, key: ApiKeyHeader = None) -> ApiKeyRow:
    """The key that the request was sent with. Counts the request; raises ApiError 401 or 429.

    Requests without a valid key are counted apart, by address.
    """
    return await authenticate_key(request, parts, key)


async def authenticate_key(request: Request, parts: AppState, key: str | None) -> ApiKeyRow:
    """The row of this key, wherever a door found it. Counts the request; raises ApiError 401 or 429."""
    found = await api_keys.find_key(parts.services.db, key) if key else None
    await count_request(parts, found.id if found else client_address(request))
    if found is None:
        if key:
            raise ApiError(401, "invalid_api_key", "This API key is not known.")
        raise ApiError(401, "missing_api_key", "Send your API key in the header X-API-Key.")
    return found


def bearer_token(request: Request) -> str | None:
    """The key of a request that sends it as `Authorization: Bearer`, as clients of other protocols do."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def base_url(request: Request, parts: AppState) -> str:
    """How links to this service begin: its public address, or the one it was asked at."""
    return parts.public_url or f"{request.url.scheme}://{request.url.netloc}"


def client_address(request: Request) -> str:
    """Where a request came from, as those without a key are counted."""
    return f"address:{request.client.host if request.client else 'unknown'}"


async def count_request(parts: AppState, who: str) -> None:
    """Count a request of `who`. Raises ApiError 429 for one too many."""
    wait = await admit(parts.services.db, who, limit=parts.rate_limit, seconds=WINDOW_SECONDS)
    if wait:
        raise ApiError(
            429,
            "rate_limited",
            f"More than {parts.rate_limit} requests within a minute: try again in {wait} s.",
            headers={"Retry-After": str(wait)},
            extra={"retry_after_seconds": wait},
        )


CallerDep = Annotated[ApiKeyRow, Depends(authenticate)]
