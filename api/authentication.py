"""Authentication of API keys, the rate limit, and the `Idempotency-Key`: a repeated request has no second effect."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from datetime import UTC
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from api.errors import ApiError, too_many_requests
from api.wiring import AppState
from providers.orders import digest_of
from storage import api_keys, idempotency
from storage.actors import RequestContext
from storage.api_keys import ApiKeyRow
from storage.database import DATABASE_UNAVAILABLE, Database
from storage.idempotency import CompletedRequest
from storage.rate_limits import admit

API_KEY_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="Your API key.")
BEARER = HTTPBearer(auto_error=False, description="Your API key, as a bearer token.")
#: How long a request waits for the response of the same request that is in progress.
WAIT_SECONDS = 20.0
POLL_INTERVAL_SECONDS = 0.05
#: Well below `storage.idempotency.IN_PROGRESS_TIMEOUT_SECONDS`, after which a request counts as abandoned.
RENEWAL_INTERVAL_SECONDS = 8.0

KEY_DESCRIPTION = "The same key with the same body returns the same response; with another body it is an error 409."
IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$", description=KEY_DESCRIPTION)
]
#: Stores the response of the request in progress.
StoreResponse = Callable[[BaseModel], Awaitable[dict[str, Any]]]


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
        raise ApiError(403, "admin_required", "API key lacks the right admin, which this request requires.")
    return caller


AdminDep = Annotated[ApiKeyRow, Depends(require_admin)]


class IdempotentRequest:
    """A POST request with its context. It is processed once per Idempotency-Key."""

    def __init__(self, db: Database, path: str, context: RequestContext) -> None:
        self.context = context
        self._path = path
        self._db = db

    async def __call__(self, body: BaseModel | None, process: Callable[[], Awaitable[BaseModel]]) -> JSONResponse:
        """Return the response of `process`, or the stored one of the same request. Raises ApiError 409."""
        if completed := await self.find_completed(body):
            return JSONResponse(completed.body, completed.status_code)
        async with self.in_progress() as store:
            return JSONResponse(await store(await process()))

    async def find_completed(self, body: BaseModel | None) -> CompletedRequest | None:
        """Return the stored response of the same request, or None for a new request. Raises ApiError 409."""
        key = self.context.idempotency_key
        if key is None:
            return None
        digest = digest_of([self._path, body.model_dump(mode="json") if body else None])
        for _ in range(round(WAIT_SECONDS / POLL_INTERVAL_SECONDS)):
            match await idempotency.begin(self._db, self.context.actor.id, key, digest):
                case CompletedRequest() as completed:
                    return completed
                case "new":
                    return None
                case "key_reused":
                    message = "The Idempotency-Key was used for a different request."
                    raise ApiError(409, "idempotency_key_reused", message)
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        raise ApiError(409, "request_in_progress", "The same request is in progress. Retry in a few seconds.")

    @asynccontextmanager
    async def in_progress(self) -> AsyncIterator[StoreResponse]:
        """Mark the request as in progress for the block, and yield a function that stores its response.

        The block may take any time. When it raises, the record is discarded and the request may be repeated.
        """
        actor_id, key = self.context.actor.id, self.context.idempotency_key

        async def store(response: BaseModel) -> dict[str, Any]:
            content = response.model_dump(mode="json")
            if key is not None:
                await idempotency.complete(self._db, actor_id, key, 200, content)
            return content

        if key is None:
            yield store
            return
        renewal = asyncio.create_task(self._renew(key))
        try:
            yield store
        except BaseException:
            await idempotency.discard(self._db, actor_id, key)
            raise
        finally:
            renewal.cancel()

    async def _renew(self, key: str) -> None:
        while True:
            await asyncio.sleep(RENEWAL_INTERVAL_SECONDS)
            # While the database is unavailable the renewal is skipped; the next one may still be in time.
            with suppress(*DATABASE_UNAVAILABLE):
                await idempotency.renew(self._db, self.context.actor.id, key)


async def idempotent_request(
    request: Request, state: AppStateDep, caller: CallerDep, idempotency_key: IdempotencyKey = None
) -> IdempotentRequest:
    """Return the request with its context."""
    return IdempotentRequest(state.services.db, request.url.path, RequestContext(caller.actor, "api", idempotency_key))


IdempotentDep = Annotated[IdempotentRequest, Depends(idempotent_request)]
