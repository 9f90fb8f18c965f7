"""The ledger: the only place that spends. An order is a row before it is a call, and it is called once."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import BaseModel

from providers.base import NotSent, OutcomeUnknown, Provider, Refused
from providers.orders import ModelAnswer, Order
from storage.admission import CANCELLED_FIRST, CAPS_LOCK, Caps, check_admission, is_budget_exhausted, is_cancelled
from storage.database import Connection, Database
from storage.events import record_event
from storage.failpoints import hit
from storage.orders import Orders

#: How long an order that was called or placed rests before somebody looks after it.
FIRST_POLL_DELAY = timedelta(seconds=1)
#: How often an order that did not arrive is placed again before it counts as failed.
MAX_SUBMIT_ATTEMPTS = 8
#: An order of unknown outcome is looked for this often.
UNKNOWN_POLL_INTERVAL = timedelta(minutes=1)
#: A claim is used within so many seconds, or not at all.
CLAIM_TIMEOUT_SECONDS = 5.0


INSERT = """
insert into orders (key, run_id, kind, provider, request, amount_usd, approval, state, result, settled_at, next_look_at)
values (%(key)s, %(run_id)s, %(kind)s, %(provider)s, %(request)s, %(amount_usd)s, %(approval)s, %(state)s, %(result)s,
        case when %(state)s = 'failed' then now() end, case when %(state)s = 'reserved' then now() + %(look)s end)
on conflict (key) do nothing
returning key
"""

# Whoever gets the row back makes the call; nobody else ever does.
CLAIM = """
update orders set called_at = now(), next_look_at = now() + %(look)s,
    provider = coalesce(%(names)s::jsonb ->> kind, provider)
where key = %(key)s and state = 'reserved' and called_at is null
  and not exists (select from events where run_id = orders.run_id and kind = 'cancel.requested')
returning *
"""


# What a cancelled run reserved and never called for is given back.
GIVE_BACK = """
update orders set state = 'failed', spent_usd = 0, result = %(result)s, settled_at = now(), next_look_at = null
where key = %(key)s and state = 'reserved' and called_at is null
  and exists (select from events where run_id = orders.run_id and kind = 'cancel.requested')
"""


class Ledger(Orders):
    """Orders, and the only way to place them. `providers` names who takes the orders of each kind."""

    def __init__(
        self,
        db: Database,
        providers: Mapping[str, Provider],
        caps: Caps,
        usd_of_tokens: Callable[[int, int], Decimal] = lambda _input, _output: Decimal(0),
    ) -> None:
        super().__init__(db)
        self.providers = providers
        self.caps = caps
        self.usd_of_tokens = usd_of_tokens

    async def adopt(self) -> None:
        """Take over orders that are not over from when providers had no place in their names."""
        for kind, provider in self.providers.items():
            bare, _, place = provider.name.partition(":")
            if place:
                await self.db.execute(
                    "update orders set provider = %s where kind = %s and provider = %s and settled_at is null",
                    (provider.name, kind, bare),
                )

    async def place_once(self, order: Order) -> None:
        """Place the order, at most once for its key. See `graph.ports.Ledger`."""
        await self.reserve([order])
        await self.place(order.key)

    async def reserve(self, orders: Sequence[Order]) -> None:
        """Write these orders of one run down, all or none of them. See `graph.ports.Ledger`."""
        async with self.db.transaction() as conn:
            await conn.execute(CAPS_LOCK)
            cursor = await conn.execute(
                "select key from orders where key = any(%s)", ([order.key for order in orders],)
            )
            known = {row["key"] for row in await cursor.fetchall()}
            new = [order for order in orders if order.key not in known]
            refused = await check_admission(conn, self.caps, new) if new else None
            for order in new:
                await self._write_down(conn, order, refused)

    async def _write_down(self, conn: Connection, order: Order, refused: dict[str, str] | None) -> None:
        values = {
            "key": order.key,
            "run_id": order.run_id,
            "kind": order.kind,
            "provider": self.providers[order.kind].name,
            "request": Jsonb(order.request),
            "amount_usd": order.amount_usd,
            "approval": order.approval.decision if order.approval and not refused else None,
            "state": "failed" if refused else "reserved",
            "result": Jsonb(refused) if refused else None,
            "look": FIRST_POLL_DELAY,
        }
        await conn.execute(INSERT, values)
        kind = "order.refused" if refused else "order.reserved"
        said = refused or {"usd": str(order.amount_usd)}
        await record_event(conn, source="ledger", kind=kind, run_id=order.run_id, subject=order.key, payload=said)

    async def place(self, key: str) -> None:
        """Make the one call of a reserved order, if nobody has; whatever comes of it is written down."""
        asked_at = time.monotonic()
        claimed = await self.db.fetch_one(CLAIM, {"key": key, "look": FIRST_POLL_DELAY, "names": self._names()})
        if claimed is None:
            await self._move(GIVE_BACK, key, "order.refused", CANCELLED_FIRST, result=Jsonb(CANCELLED_FIRST))
            return
        provider = self.providers[claimed["kind"]]
        hit("submit.before")
        if time.monotonic() - asked_at > CLAIM_TIMEOUT_SECONDS:
            # This process was frozen since it claimed: what others made of the order meanwhile, it cannot know.
            await self._not_sent(key, claimed["looks"], NotSent("frozen", "The order was put off by a frozen process."))
            return
        try:
            task_id = await provider.submit(claimed["request"], key=key)
        except NotSent as error:
            await self._not_sent(key, claimed["looks"], error)
        except Refused as error:
            await self.fail(key, error.code, error.message)
        except OutcomeUnknown as error:
            await self._note(key, "order.submit_timed_out", {"code": error.code, "message": error.message})
        else:
            hit("submit.after")
            if not await self.bind(key, task_id):
                # A person has called it not made meanwhile: it was, and is charged for.
                await self.report_duplicates(key, [task_id])

    def _names(self) -> Jsonb:
        """Who takes the orders of each kind now, which may not be who did when an order was written down."""
        return Jsonb({kind: provider.name for kind, provider in self.providers.items()})

    async def _not_sent(self, key: str, looks: int, error: NotSent) -> None:
        if looks + 1 >= MAX_SUBMIT_ATTEMPTS:
            await self.fail(key, error.code, error.message)
            return
        await self.db.execute(
            "update orders set state = 'reserved', called_at = null, looks = looks + 1, next_look_at = now() + %s"
            " where key = %s and state in ('reserved', 'unknown') and task_id is null",
            (timedelta(seconds=min(2**looks, 60)), key),
        )

    async def bind(self, key: str, task_id: str) -> bool:
        """Keep the provider's id of an order that was called; False if that id belongs to another order."""
        moved = await self._move(
            "update orders set state = 'submitted', task_id = %(task_id)s, submitted_at = now(), looks = 0,"
            " next_look_at = now() + %(look)s where key = %(key)s and state in ('reserved', 'unknown')"
            " and task_id is null and not exists (select from orders as o"
            " where o.provider = orders.provider and o.task_id = %(task_id)s)",
            key,
            "order.submitted",
            {"task_id": task_id},
            task_id=task_id,
            look=FIRST_POLL_DELAY,
        )
        if moved:
            return True
        row = await self.get(key)
        return row is not None and row["task_id"] == task_id

    async def settle(self, key: str, result: Mapping[str, Any]) -> bool:
        """Close an order that was fulfilled; what was reserved for it is spent. False if it was over already."""
        return await self._move(
            "update orders set state = 'settled', spent_usd = amount_usd, result = %(result)s, settled_at = now(),"
            " progress = 1, next_look_at = null where key = %(key)s and state in ('submitted', 'unknown')",
            key,
            "order.settled",
            {name: result[name] for name in ("digest", "seconds") if name in result},
            result=Jsonb(dict(result)),
        )

    async def fail(self, key: str, code: str, message: str, *, charged: bool = False) -> bool:
        """Close an order that came to nothing. False if it was over.

        What was reserved for it is given back, unless it is `charged` for all the same: then it is spent.
        """
        said = {"code": code, "message": message, **({"charged": True} if charged else {})}
        return await self._move(
            "update orders set state = 'failed', spent_usd = case when %(charged)s then amount_usd else 0 end,"
            " result = %(result)s, settled_at = now(), next_look_at = null"
            " where key = %(key)s and state in ('reserved', 'submitted', 'unknown')",
            key,
            "order.failed",
            said,
            result=Jsonb(said),
            charged=charged,
        )

    async def mark_unknown(self, key: str) -> bool:
        """Call the outcome of an order unknown that was called and cannot be found, or never ends: a person has to say.

        It is looked after all the same, now and then: what turns up late still counts.
        """
        return await self._move(
            "update orders set state = 'unknown', next_look_at = now() + %(look)s"
            " where key = %(key)s and state in ('reserved', 'submitted')",
            key,
            "order.outcome_unknown",
            {},
            look=UNKNOWN_POLL_INTERVAL,
        )

    async def declare_not_made(self, run_id: UUID | str, keys: Sequence[str], *, by: str, channel: str) -> list[str]:
        """Close those of these orders of a run whose outcome is unknown, because a person says they were not made.

        What was reserved for them is given back. Returns their keys.
        """
        said = {"code": "declared_not_made", "message": f"{by} says that this was not made."}
        async with self.db.transaction() as conn:
            cursor = await conn.execute(
                "update orders set state = 'failed', spent_usd = 0, result = %s, settled_at = now(),"
                " next_look_at = null where run_id = %s and key = any(%s) and state = 'unknown' returning key",
                (Jsonb(said), run_id, list(keys)),
            )
            closed = [str(row["key"]) for row in await cursor.fetchall()]
            for key in closed:
                payload = {**said, "by": by}
                await record_event(
                    conn, source=channel, kind="order.failed", run_id=run_id, subject=key, payload=payload
                )
        return closed

    async def report_duplicates(self, key: str, task_ids: Sequence[str]) -> None:
        """Tell the feed that the provider made an order more than once, which it charges for. Told once for each."""
        async with self.db.transaction() as conn:
            row = await (await conn.execute("select run_id, provider from orders where key = %s", (key,))).fetchone()
            if row is None:
                return
            for task_id in task_ids:
                await record_event(
                    conn,
                    source="ledger",
                    external_id=f"duplicate:{row['provider']}:{task_id}",
                    kind="charge.duplicate",
                    run_id=row["run_id"],
                    subject=key,
                    payload={"task_id": task_id},
                )

    async def cached_answer(
        self, key: str, run_id: str | None, ask: Callable[[], Awaitable[ModelAnswer[Any]]]
    ) -> dict[str, Any]:
        """A model's answer, asked for once and kept. See `graph.ports.Ledger`.

        A model server knows no ids to look up: an answer that was lost with its process is asked for again, and
        its tokens are paid again. It is the one thing that is. Once a run's cap is used up nothing is asked.
        """
        known = await self.get(key)
        if known and known["state"] == "settled":
            return known["result"] or {}
        if not known:
            await self._reserve_answer(key, run_id)
        hit("answer.before")
        answer = await ask()
        hit("answer.after")
        usd = self.usd_of_tokens(answer.input_tokens, answer.output_tokens)
        value: BaseModel = answer.value
        # The first answer counts, also for a process that was frozen while it asked; what all cost is added up.
        row = await self.db.fetch_one(
            "update orders set state = 'settled', spent_usd = coalesce(spent_usd, 0) + %s,"
            " result = coalesce(result, %s), settled_at = coalesce(settled_at, now()) where key = %s returning result",
            (usd, Jsonb(value.model_dump(mode="json")), key),
        )
        assert row is not None  # noqa: S101 - it was reserved
        kept: dict[str, Any] = row["result"]
        return kept

    async def record_usage(self, key: str, input_tokens: int, output_tokens: int) -> None:
        """Write down the tokens of a message in a talk, which belongs to no run."""
        await self.db.execute(
            "insert into orders (key, kind, provider, request, amount_usd, spent_usd, state, called_at, settled_at)"
            " values (%s, 'model', 'model', '{}', 0, %s, 'settled', now(), now()) on conflict (key) do nothing",
            (key, self.usd_of_tokens(input_tokens, output_tokens)),
        )

    async def _reserve_answer(self, key: str, run_id: str | None) -> None:
        async with self.db.transaction() as conn:
            if run_id and await is_cancelled(conn, run_id):
                raise Refused("cancelled", "The run was cancelled before this was asked.")
            if run_id and self.usd_of_tokens(1, 1) and await is_budget_exhausted(conn, run_id):
                raise Refused("budget_exceeded", "The run's cap is used up, and asking a model costs, too.")
            await conn.execute(
                "insert into orders (key, run_id, kind, provider, request, amount_usd, called_at)"
                " values (%s, %s, 'model', 'model', '{}', 0, now()) on conflict (key) do nothing",
                (key, run_id),
            )

    async def _move(self, update: LiteralString, key: str, kind: str, said: Mapping[str, Any], **values: Any) -> bool:
        """Run one guarded update and, if it moved the order, tell the run's feed in the same transaction."""
        async with self.db.transaction() as conn:
            cursor = await conn.execute(update + " returning run_id", {"key": key, **values})
            row = await cursor.fetchone()
            if row is None:
                return False
            await record_event(conn, source="ledger", kind=kind, run_id=row["run_id"], subject=key, payload=said)
            await conn.execute("update runs set next_look_at = now() where id = %s", (row["run_id"],))
        return True

    async def _note(self, key: str, kind: str, said: Mapping[str, Any]) -> None:
        await self._move("update orders set next_look_at = now() where key = %(key)s", key, kind, said)
