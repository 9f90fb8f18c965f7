"""Model calls: their answers are stored per order key, and their tokens are costs of the run."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from providers.base import Refused
from providers.orders import ModelAnswer, OrderKey
from storage.admission import is_budget_exhausted, is_cancelled
from storage.database import Database, from_now, insert
from storage.failpoints import hit
from storage.orders import Orders


class ModelCalls(Orders):
    """Orders, and the calls of language models. `usd_of_tokens` prices input and output tokens."""

    def __init__(self, db: Database, usd_of_tokens: Callable[[int, int], Decimal]) -> None:
        super().__init__(db)
        self.usd_of_tokens = usd_of_tokens

    async def cached_answer(self, key: OrderKey, request: Callable[[], Awaitable[ModelAnswer[Any]]]) -> dict[str, Any]:
        """Return the model's answer for `key` as JSON, requested once and stored. See `graph.dependencies.Ledger`.

        A model server has no ids to look up: an answer lost in a crash is requested again and its tokens are paid
        again. This is the only call that can be paid twice. Raises Refused if the run is cancelled or its cap is
        used up.
        """
        text = str(key)
        known = await self.get(text)
        if known and known.state == "settled":
            return known.result or {}
        if not known:
            await self._reserve_answer(text, key.run_id)
        hit("answer.before")
        answer = await request()
        hit("answer.after")
        # The first stored answer is the one, also for a process that was frozen during the call; costs add up.
        usd = self.usd_of_tokens(answer.input_tokens, answer.output_tokens)
        [row] = await self.db.fetch_all(
            "update orders set state = 'settled', spent_usd = coalesce(spent_usd, 0) + %s,"
            " result = coalesce(result, %s), settled_at = coalesce(settled_at, now()) where key = %s returning result",
            (usd, answer.value.model_dump(mode="json"), text),
        )
        result: dict[str, Any] = row["result"]
        return result

    async def record_usage(self, key: str, input_tokens: int, output_tokens: int) -> None:
        """Record the tokens of a chat message, which belongs to no run."""
        usd = self.usd_of_tokens(input_tokens, output_tokens)
        order = _new_model_order(key) | {"spent_usd": usd, "state": "settled", "settled_at": from_now()}
        await self.db.insert("orders", order)

    async def _reserve_answer(self, key: str, run_id: str) -> None:
        async with self.db.transaction() as conn:
            if await is_cancelled(conn, run_id):
                raise Refused("cancelled", "The run was cancelled before this model call.")
            if self.usd_of_tokens(1, 1) and await is_budget_exhausted(conn, run_id):
                raise Refused("budget_exceeded", "The run's cap is used up; it includes the costs of model calls.")
            await insert(conn, "orders", _new_model_order(key) | {"run_id": run_id})


def _new_model_order(key: str) -> dict[str, object]:
    return {"key": key, "kind": "model", "provider": "model", "request": {}, "amount_usd": 0, "called_at": from_now()}
