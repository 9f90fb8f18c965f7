"""The `Idempotency-Key` header: the same request again gets the same answer again, and changes nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.authentication import AppStateDep, CallerDep
from api.errors import ApiError
from providers.orders import digest_of
from storage import idempotency
from storage.database import DatabaseUnavailable
from storage.idempotency import CompletedRequest, KeyReused, RequestInProgress

#: How long a request waits for the answer of one like it that is under way, in seconds.
PATIENCE = 20.0
TICK = 0.05
#: How often a request that is being done says so, in seconds: well within `storage.answers.PATIENCE`.
RENEWED_EVERY = 8.0

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key and body give the same answer again; the same key and another body, 409.",
    ),
]


class IdempotentRequest:
    """Answers a request that changes something, once for its Idempotency-Key."""

    def __init__(
        self, request: Request, parts: AppStateDep, who: CallerDep, idempotency_key: IdempotencyKey = None
    ) -> None:
        self.path = request.url.path
        self.db = parts.services.db
        self.who = who
        self.key = idempotency_key

    @property
    def external_id(self) -> str:
        """What the request is known by: its key, or a new name."""
        return f"{self.who.id}:{self.key or uuid4()}"

    async def __call__(self, body: BaseModel | None, do: Callable[[], Awaitable[dict[str, Any]]]) -> JSONResponse:
        """The answer of `do`, or that of the first request with the same key. Raises ApiError 409."""
        if given := await self.given(body):
            return JSONResponse(given.body, given.status_code)
        async with self.under_way() as keep:
            answer = await do()
            await keep(answer)
        return JSONResponse(answer)

    async def given(self, body: BaseModel | None) -> CompletedRequest | None:
        """The answer that the first request with the same key got; None for the first one. Raises ApiError 409."""
        if self.key is None:
            return None
        return await self._begin(digest_of([self.path, body.model_dump(mode="json") if body else None]))

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[Callable[[dict[str, Any]], Awaitable[None]]]:
        """The first request is being done in this block, however long that takes; it is given what keeps its answer.

        When the block raises, the request may be made again.
        """
        if self.key is None:
            yield _keep_nothing
            return
        renewing = asyncio.create_task(self._renew(self.key))
        try:
            yield partial(idempotency.complete, self.db, self.who.id, self.key, 200)
        except BaseException:
            await idempotency.discard(self.db, self.who.id, self.key)
            raise
        finally:
            renewing.cancel()

    async def _renew(self, key: str) -> None:
        while True:
            await asyncio.sleep(RENEWED_EVERY)
            # Where the database is away now, it is renewed the next time, or counts as died.
            with suppress(DatabaseUnavailable):
                await idempotency.renew(self.db, self.who.id, key)

    async def _begin(self, digest: str) -> CompletedRequest | None:
        for _ in range(round(PATIENCE / TICK)):
            begun = await idempotency.begin(self.db, self.who.id, self.key or "", digest)
            match begun:
                case CompletedRequest():
                    return begun
                case KeyReused():
                    raise ApiError(409, "idempotency_key_reused", "This Idempotency-Key was used for another request.")
                case RequestInProgress():
                    await asyncio.sleep(TICK)
                case _:
                    return None
        raise ApiError(409, "request_under_way", "The same request is being answered: ask again in a moment.")


async def _keep_nothing(_answer: dict[str, Any]) -> None:
    """A request without a key is answered anew each time."""
