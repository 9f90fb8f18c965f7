"""Admission under the caps: of orders, which a decision has to approve, and of model calls, which cost their tokens."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from providers.base import ProviderError, Refused, Unavailable
from providers.orders import ModelAnswer, Order, OrderKey
from storage.database import Connection, fetch_one, read_statements
from storage.failpoints import hit
from storage.orders import OrderRow, Orders
from storage.spending import committed, lock_spending
from telemetry.metrics import observed


@dataclass(frozen=True)
class Caps:
    """The largest amounts to reserve and spend, in USD, in addition to the cap of each run."""

    day_usd: Decimal
    #: By project name, per day.
    project_day_usd: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class CapRoom:
    """A cap, and what is spent or reserved of it, in USD."""

    name: str
    cap_usd: Decimal
    committed_usd: Decimal

    @property
    def left_usd(self) -> Decimal:
        """Return what may still be reserved."""
        return max(self.cap_usd - self.committed_usd, Decimal(0))

    def describe_excess(self, usd: Decimal) -> str:
        """Return the sentence that refuses this amount."""
        return (
            f"{usd:.2f} USD more would exceed {self.name} of {self.cap_usd:.2f} USD: "
            f"{self.committed_usd:.2f} USD are already spent or reserved."
        )


#: The share of the day's cap that model calls before any approval may take together: of new runs and of the chat.
UNAPPROVED_SHARE = Decimal("0.25")
SHARE_NAME = "the share of the day's cap (UTC) for new runs and the chat"
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

sql = read_statements("admission")


CANCELLED_FIRST = {"code": "cancelled", "message": "The run was cancelled before this was ordered."}


async def check_admission(conn: Connection, caps: Caps, orders: Sequence[Order]) -> dict[str, str] | None:
    """Return code and message of the reason not to place these orders of one run; None if they are admitted.

    Call `lock_spending` before, and insert the admitted orders in the same transaction.
    """
    run_id = orders[0].run_id
    if await is_cancelled(conn, run_id):
        return CANCELLED_FIRST
    for order in orders:
        if order.kind != "render" and not await _is_approved(conn, order):
            return {"code": "not_approved", "message": f"No decision approves this {order.kind}; it is not ordered."}
    total = sum((order.amount_usd for order in orders), Decimal(0))
    if total and total > (cap := await tightest_cap(conn, caps, run_id)).left_usd:
        return {"code": "budget_exceeded", "message": cap.describe_excess(total)}
    return None


async def check_replay(conn: Connection, caps: Caps, order: OrderRow) -> dict[str, str] | None:
    """Return code and message of the reason not to submit this order again; None if it is admitted.

    The order has a reservation, which is counted once. Call `lock_spending` before, and mark it as
    submitted again in the same transaction.
    """
    run_id = str(order.run_id)
    if await is_cancelled(conn, run_id):
        return CANCELLED_FIRST
    if order.kind != "render" and not await fetch_one(conn, sql["still_approved"], {"key": order.key}):
        return {"code": "not_approved", "message": f"No decision approves this {order.kind}; it is not ordered."}
    if order.amount_usd and (cap := await tightest_cap(conn, caps, run_id)).committed_usd > cap.cap_usd:
        return {"code": "budget_exceeded", "message": cap.describe_excess(Decimal(0))}
    return None


async def _is_approved(conn: Connection, order: Order) -> bool:
    if order.approval is None:
        return False
    return await fetch_one(conn, sql["approved"], {**vars(order.approval), "run_id": order.run_id}) is not None


async def tightest_cap(conn: Connection, caps: Caps, run_id: UUID | str | None, *, unapproved: bool = False) -> CapRoom:
    """Return the cap that leaves the least: that of the run, of its project's day, or of the day.

    For a model call that no approval precedes it may also be the share of the day's cap for these; without a run,
    that of the chat, only the caps of the day count.
    """
    usd, rooms = await committed(conn, run_id), list[CapRoom]()
    if run := await fetch_one(conn, "select cap_usd, project from runs where id = %s", (run_id,)):
        rooms.append(CapRoom("the run's cap", run["cap_usd"], usd["run"]))
        if (project_cap := caps.project_day_usd.get(run["project"])) is not None:
            rooms.append(CapRoom(f"the day's cap of project {run['project']} (UTC)", project_cap, usd["project"]))
    rooms.append(CapRoom("the day's cap (UTC)", caps.day_usd, usd["day"]))
    if unapproved:
        rooms.append(CapRoom(SHARE_NAME, caps.day_usd * UNAPPROVED_SHARE, usd["unapproved"]))
    return min(rooms, key=lambda room: room.cap_usd - room.committed_usd)


async def is_cancelled(conn: Connection, run_id: str) -> bool:
    """Return whether the run was cancelled."""
    return await fetch_one(conn, sql["cancelled"], (run_id,)) is not None


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
            unapproved = run_id is None or not await fetch_one(conn, sql["has_approval"], (run_id,))
            if usd and usd > (cap := await tightest_cap(conn, self.caps, run_id, unapproved=unapproved)).left_usd:
                raise Refused("budget_exceeded", f"A model call of about {cap.describe_excess(usd)}")
            await conn.execute(sql["reserve"], {"key": key, "run_id": run_id, "usd": usd, "unapproved": unapproved})
        try:
            with observed("model", OrderKey.parse(key).kind if run_id else "chat"):
                yield
        except ProviderError as error:
            await self.db.execute(sql["end"], {"key": key, "usd": 0 if isinstance(error, Unavailable) else usd})
            raise

    async def _settle_call(self, key: str, tokens: tuple[int, ...], result: dict[str, Any]) -> dict[str, Any]:
        values = {"key": key, "usd": self.usd_of_tokens(*tokens), "result": result}
        [row] = await self.db.fetch_all(sql["settle"], values)
        stored: dict[str, Any] = row["result"]
        return stored
