"""The `Idempotency-Key` header: a repeated request gets the stored response and has no second effect."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.authentication import AppStateDep, CallerDep
from api.errors import ApiError
from providers.orders import digest_of
from storage import idempotency
from storage.actors import RequestContext
from storage.database import DATABASE_UNAVAILABLE, Database
from storage.idempotency import CompletedRequest

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
