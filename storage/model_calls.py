"""Model calls: admitted under the caps by an estimate, their answers stored per order key, their tokens costs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

from providers.base import ProviderError, Refused, Unavailable
from providers.orders import ModelAnswer, OrderKey
from storage.admission import Caps, has_approval, is_cancelled, tightest_cap
from storage.database import read_statements
from storage.failpoints import hit
from storage.orders import Orders
from storage.spending import lock_spending

#: The input and output tokens that are reserved for a call, by the kind of its key: more than such a call takes.
RESERVED_TOKENS = {
    "moderation": (4_000, 1_000),
    "screening": (2_000, 500),
    "ideas": (8_000, 4_000),
    "caption": (3_000, 500),
    "changes": (3_000, 1_500),
    "rewrite": (2_000, 1_500),
    "chat": (4_000, 1_500),  # besides the messages
}

sql = read_statements("model_calls")


@dataclass(eq=False)
class ModelCalls(Orders):
    """Orders, and the calls of language models. `usd_of_tokens` prices input and output tokens."""

    caps: Caps
    usd_of_tokens: Callable[[int, int], Decimal]

    async def cached_answer(self, key: OrderKey, request: Callable[[], Awaitable[ModelAnswer[Any]]]) -> dict[str, Any]:
        """Return the model's answer for `key` as JSON, requested once and stored. See `graph.dependencies.Ledger`.

        A model server has no ids to look up: an answer lost in a crash is requested again and its tokens are paid
        again. This is the only call that can be paid twice. Raises Refused if the run is cancelled or a cap leaves
        less than the estimated cost, and as the request.
        """
        text = str(key)
        known = await self.get(text)
        if known and known.state == "settled":
            return known.result
        async with self._admitted(text, key.run_id, RESERVED_TOKENS[key.kind]):
            hit("answer.before")
            answer = await request()
            hit("answer.after")
        tokens = (answer.input_tokens, answer.output_tokens)
        return await self._settle_call(text, tokens, answer.value.model_dump(mode="json"))

    def estimated_usd(self, kind: str) -> Decimal:
        """Return what is reserved for a model call of this kind of key."""
        return self.usd_of_tokens(*RESERVED_TOKENS[kind])

    @asynccontextmanager
    async def chat_call(self, input_tokens: int) -> AsyncIterator[Callable[[int, int], Awaitable[None]]]:
        """Admit a call of the chat, which belongs to no run, by its estimated cost.

        Yield the function that records the input and output tokens of the answer. Raises Refused if a cap leaves
        less than the estimate.
        """
        key = f"chat:{uuid4()}"

        async def record(*tokens: int) -> None:
            await self._settle_call(key, tokens, {})

        async with self._admitted(key, None, (input_tokens + RESERVED_TOKENS["chat"][0], RESERVED_TOKENS["chat"][1])):
            yield record

    @asynccontextmanager
    async def _admitted(self, key: str, run_id: str | None, tokens: tuple[int, int]) -> AsyncIterator[None]:
        """Reserve the cost of these tokens for the block.

        If the block raises Unavailable the call was not answered and costs nothing; after any other error of the
        provider it counts by its estimate.
        """
        usd = self.usd_of_tokens(*tokens)
        async with self.db.transaction() as conn:
            if usd:
                await lock_spending(conn, run_id, orders=[key])
            if run_id and await is_cancelled(conn, run_id):
                raise Refused("cancelled", "The run was cancelled before this model call.")
            unapproved = run_id is None or not await has_approval(conn, run_id)
            if usd and usd > (cap := await tightest_cap(conn, self.caps, run_id, unapproved=unapproved)).left_usd:
                raise Refused("budget_exceeded", f"A model call of about {cap.describe_excess(usd)}")
            await conn.execute(sql["reserve"], {"key": key, "run_id": run_id, "usd": usd, "unapproved": unapproved})
        try:
            yield
        except ProviderError as error:
            await self.db.execute(sql["end"], {"key": key, "usd": 0 if isinstance(error, Unavailable) else usd})
            raise

    async def _settle_call(self, key: str, tokens: tuple[int, ...], result: dict[str, Any]) -> dict[str, Any]:
        values = {"key": key, "usd": self.usd_of_tokens(*tokens), "result": result}
        [row] = await self.db.fetch_all(sql["settle"], values)
        stored: dict[str, Any] = row["result"]
        return stored
