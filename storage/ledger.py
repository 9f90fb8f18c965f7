"""The ledger: the only place that spends. An order is a row before it is a call, and it is called once."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString, TypedDict
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import BaseModel

from providers.base import NotSent, OutcomeUnknown, Provider, Refused
from providers.orders import Answer, Order, Standing
from storage.events import record
from storage.points import reached
from storage.pool import Connection, Database

#: How long an order that was called or placed rests before somebody looks after it.
FIRST_LOOK = timedelta(seconds=1)
#: How often an order that did not arrive is placed again before it counts as failed.
TRIES = 8
#: An order of unknown outcome is looked for this often.
LATE_LOOK = timedelta(minutes=1)
#: A claim is used within so many seconds, or not at all.
STALE = 5.0


@dataclass(frozen=True)
class Caps:
    """What may be reserved and spent at most, in USD, beside the cap that each run has of its own."""

    day_usd: Decimal
    #: For a project, by name, on one day.
    project_day_usd: Mapping[str, Decimal] = field(default_factory=dict)


class OrderRow(TypedDict):
    """A row of `orders`."""

    key: str
    run_id: UUID | None
    kind: str
    provider: str
    request: dict[str, Any]
    amount_usd: Decimal
    spent_usd: Decimal | None
    state: str
    approval: int | None
    called_at: datetime | None
    task_id: str | None
    submitted_at: datetime | None
    settled_at: datetime | None
    result: dict[str, Any] | None
    progress: float | None
    looks: int
    next_look_at: datetime | None
    created_at: datetime


# One reservation at a time: what is free under a cap cannot be promised twice.
CAPS_LOCK = "select pg_advisory_xact_lock(hashtextextended('caps', 0))"

# An approval counts for exactly what it was given for: what was approved, or the clip asked to be made again,
# by its number in the list or in the words of the comment.
APPROVED = r"""
select 1 from decisions
where number = %(decision)s and run_id = %(run_id)s and (
    (verdict = 'approve' and approved_digest = %(digest)s)
    or (verdict = 'revise' and approved_digest = %(digest)s and %(clip)s::int is not null
        and (clips @> jsonb_build_array(jsonb_build_object('clip', %(clip)s::int))
             or comment ~ concat('\m', %(clip)s::int, '\M'))))
"""

CANCELLED_FIRST = {"code": "cancelled", "message": "The run was cancelled before this was ordered."}
CANCELLED = "select 1 from events where run_id = %s and kind = 'cancel.requested' limit 1"

# What is reserved and not settled counts as spent; what failed was given back.
COMMITTED = """
with today as (select date_trunc('day', now() at time zone 'utc') at time zone 'utc' as began),
counted as (
    select orders.run_id, orders.created_at, coalesce(spent_usd, amount_usd) as usd, other.project
    from orders left join runs as other on other.id = orders.run_id, today
    where state <> 'failed' and (orders.run_id = %(run_id)s or orders.created_at >= began))
select run.cap_usd as run_cap, run.project,
       coalesce(sum(usd) filter (where counted.run_id = run.id), 0) as run,
       coalesce(sum(usd) filter (where counted.created_at >= began), 0) as day,
       coalesce(sum(usd) filter (where counted.created_at >= began and counted.project = run.project), 0)
           as project_day
from today, runs as run left join counted on true
where run.id = %(run_id)s
group by run.id
"""

INSERT = """
insert into orders (key, run_id, kind, provider, request, amount_usd, approval, state, result, settled_at, next_look_at)
values (%(key)s, %(run_id)s, %(kind)s, %(provider)s, %(request)s, %(amount_usd)s, %(approval)s, %(state)s, %(result)s,
        case when %(state)s = 'failed' then now() end, case when %(state)s = 'reserved' then now() + %(look)s end)
on conflict (key) do nothing
returning key
"""

# Whoever gets the row back makes the call; nobody else ever does.
CLAIM = """
update orders set called_at = now(), next_look_at = now() + %(look)s
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


class Ledger:
    """Orders in Postgres. `providers` names who takes the orders of each kind."""

    def __init__(
        self,
        db: Database,
        providers: Mapping[str, Provider],
        caps: Caps,
        usd_of_tokens: Callable[[int, int], Decimal] = lambda _input, _output: Decimal(0),
    ) -> None:
        self.db = db
        self.providers = providers
        self.caps = caps
        self.usd_of_tokens = usd_of_tokens

    async def once(self, order: Order) -> None:
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
            refusal = await self._refusal(conn, new) if new else None
            for order in new:
                await self._write_down(conn, order, refusal)

    async def _write_down(self, conn: Connection, order: Order, refusal: dict[str, str] | None) -> None:
        values = {
            "key": order.key,
            "run_id": order.run_id,
            "kind": order.kind,
            "provider": self.providers[order.kind].name,
            "request": Jsonb(order.request),
            "amount_usd": order.amount_usd,
            "approval": order.approval.decision if order.approval and not refusal else None,
            "state": "failed" if refusal else "reserved",
            "result": Jsonb(refusal) if refusal else None,
            "look": FIRST_LOOK,
        }
        await conn.execute(INSERT, values)
        kind = "order.refused" if refusal else "order.reserved"
        said = refusal or {"usd": str(order.amount_usd)}
        await record(conn, source="ledger", kind=kind, run_id=order.run_id, subject=order.key, payload=said)

    async def _refusal(self, conn: Connection, orders: Sequence[Order]) -> dict[str, str] | None:
        """Why these orders must not be placed, as a code and a sentence."""
        run_id = orders[0].run_id
        if await (await conn.execute(CANCELLED, (run_id,))).fetchone():
            return CANCELLED_FIRST
        for order in orders:
            approval = order.approval and {**vars(order.approval), "run_id": run_id}
            approved = approval and await (await conn.execute(APPROVED, approval)).fetchone()
            if order.kind != "render" and not approved:
                return {"code": "not_approved", "message": f"Nobody approved this {order.kind}, so it is not ordered."}
        total = sum((order.amount_usd for order in orders), Decimal(0))
        row = await (await conn.execute(COMMITTED, {"run_id": run_id})).fetchone()
        if row is None or not total:
            return None
        of_project = self.caps.project_day_usd.get(row["project"])
        for name, committed, cap in (
            ("the run's cap", row["run"], row["run_cap"]),
            (f"the day's cap of the project {row['project']} (UTC)", row["project_day"], of_project),
            ("the day's cap (UTC)", row["day"], self.caps.day_usd),
        ):
            if cap is not None and committed + total > cap:
                message = (
                    f"{total:.2f} USD more would exceed {name} of {cap:.2f} USD: "
                    f"{committed:.2f} USD are spent or promised already."
                )
                return {"code": "budget_exceeded", "message": message}
        return None

    async def place(self, key: str) -> None:
        """Make the one call of a reserved order, if nobody has; whatever comes of it is written down."""
        asked_at = time.monotonic()
        claimed = await self.db.fetch_one(CLAIM, {"key": key, "look": FIRST_LOOK})
        if claimed is None:
            await self._move(GIVE_BACK, key, "order.refused", CANCELLED_FIRST, result=Jsonb(CANCELLED_FIRST))
            return
        provider = self.providers[claimed["kind"]]
        reached("submit.before")
        if time.monotonic() - asked_at > STALE:
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
            await self._note(key, "order.outcome_unknown", {"code": error.code, "message": error.message})
        else:
            reached("submit.after")
            if not await self.bind(key, task_id):
                # A person has called it not made meanwhile: it was, and is charged for.
                await self.report_duplicates(key, [task_id])

    async def _not_sent(self, key: str, looks: int, error: NotSent) -> None:
        if looks + 1 >= TRIES:
            await self.fail(key, error.code, error.message)
            return
        await self.db.execute(
            "update orders set called_at = null, looks = looks + 1, next_look_at = now() + %s"
            " where key = %s and state = 'reserved'",
            (timedelta(seconds=min(2**looks, 60)), key),
        )

    async def bind(self, key: str, task_id: str) -> bool:
        """Keep the provider's id of an order that was called; False if that id belongs to another order."""
        moved = await self._move(
            "update orders set state = 'submitted', task_id = %(task_id)s, submitted_at = now(), looks = 0,"
            " next_look_at = now() + %(look)s where key = %(key)s and state in ('reserved', 'unknown')"
            " and not exists (select from orders as o where o.provider = orders.provider and o.task_id = %(task_id)s)",
            key,
            "order.submitted",
            {"task_id": task_id},
            task_id=task_id,
            look=FIRST_LOOK,
        )
        if moved:
            return True
        row = await self.row(key)
        return row is not None and row["task_id"] == task_id

    async def settle(self, key: str, result: Mapping[str, Any]) -> bool:
        """Close an order that was fulfilled; what was reserved for it is spent. False if it was over already."""
        return await self._move(
            "update orders set state = 'settled', spent_usd = amount_usd, result = %(result)s, settled_at = now(),"
            " progress = 1, next_look_at = null where key = %(key)s and state = 'submitted'",
            key,
            "order.settled",
            {name: result[name] for name in ("digest", "seconds") if name in result},
            result=Jsonb(dict(result)),
        )

    async def fail(self, key: str, code: str, message: str) -> bool:
        """Close an order that came to nothing; what was reserved for it is given back. False if it was over."""
        said = {"code": code, "message": message}
        return await self._move(
            "update orders set state = 'failed', spent_usd = 0, result = %(result)s, settled_at = now(),"
            " next_look_at = null where key = %(key)s and state in ('reserved', 'submitted')",
            key,
            "order.failed",
            said,
            result=Jsonb(said),
        )

    async def lose(self, key: str) -> bool:
        """Call the outcome of an order that was called and cannot be found unknown: a person has to say.

        It is looked for all the same, now and then: what turns up late is still bound.
        """
        return await self._move(
            "update orders set state = 'unknown', next_look_at = now() + %(look)s"
            " where key = %(key)s and state = 'reserved'",
            key,
            "order.unknown",
            {},
            look=LATE_LOOK,
        )

    async def declare_not_made(self, run_id: UUID | str, *, by: str, channel: str) -> list[str]:
        """Close the orders of a run whose outcome is unknown, because a person says they were not made.

        What was reserved for them is given back. Returns their keys.
        """
        said = {"code": "declared_not_made", "message": f"{by} says that this was not made."}
        async with self.db.transaction() as conn:
            cursor = await conn.execute(
                "update orders set state = 'failed', spent_usd = 0, result = %s, settled_at = now(),"
                " next_look_at = null where run_id = %s and state = 'unknown' returning key",
                (Jsonb(said), run_id),
            )
            keys = [str(row["key"]) for row in await cursor.fetchall()]
            for key in keys:
                payload = {**said, "by": by}
                await record(conn, source=channel, kind="order.failed", run_id=run_id, subject=key, payload=payload)
        return keys

    async def report_duplicates(self, key: str, task_ids: Sequence[str]) -> None:
        """Tell the feed that the provider made an order more than once, which it charges for. Told once for each."""
        async with self.db.transaction() as conn:
            row = await (await conn.execute("select run_id, provider from orders where key = %s", (key,))).fetchone()
            if row is None:
                return
            for task_id in task_ids:
                await record(
                    conn,
                    source="ledger",
                    external_id=f"duplicate:{row['provider']}:{task_id}",
                    kind="charge.duplicate",
                    run_id=row["run_id"],
                    subject=key,
                    payload={"task_id": task_id},
                )

    async def look_again(self, key: str, after: timedelta, progress: float | None = None) -> None:
        """Put off the next look at an order, and keep how far it is (0..1)."""
        async with self.db.transaction() as conn:
            cursor = await conn.execute(
                "update orders set looks = looks + 1, next_look_at = now() + %s, progress = coalesce(%s, progress)"
                " where key = %s and settled_at is null returning run_id, kind",
                (after, progress, key),
            )
            row = await cursor.fetchone()
            if row and progress is not None:
                said = {"kind": row["kind"], "progress": round(progress, 2)}
                await record(
                    conn,
                    source="ledger",
                    kind="order.progress",
                    run_id=row["run_id"],
                    subject=key,
                    payload=said,
                )

    async def key_of(self, provider: str, task_id: str) -> str | None:
        """The key of the order that this provider knows by `task_id`."""
        row = await self.db.fetch_one(
            "select key from orders where provider = %s and task_id = %s", (provider, task_id)
        )
        return str(row["key"]) if row else None

    async def look_now(self, key: str) -> None:
        """Make an order that is not over due for a look."""
        await self.db.execute("update orders set next_look_at = now() where key = %s and settled_at is null", (key,))

    async def row(self, key: str) -> OrderRow | None:
        """The order of this key."""
        row = await self.db.fetch_one("select * from orders where key = %s", (key,))
        return OrderRow(**row) if row else None  # type: ignore[typeddict-item]  # the columns are its keys

    async def unbound(self, provider: str, task_ids: Sequence[str]) -> list[str]:
        """Those of the provider's ids that no order has, in their order."""
        rows = await self.db.fetch_all(
            "select task_id from orders where provider = %s and task_id = any(%s)", (provider, list(task_ids))
        )
        bound = {row["task_id"] for row in rows}
        return [task_id for task_id in task_ids if task_id not in bound]

    async def standing(self, keys: Sequence[str]) -> dict[str, Standing]:
        """How these orders stand, by key. See `graph.ports.Ledger`."""
        rows = await self.db.fetch_all(
            "select key, kind, state, amount_usd, task_id, result from orders where key = any(%s)",
            (list(keys),),
        )
        return {row["key"]: Standing(**{**row, "result": row["result"] or {}}) for row in rows}

    async def of_run(self, run_id: UUID | str) -> list[OrderRow]:
        """Every order of a run, oldest first."""
        rows = await self.db.fetch_all("select * from orders where run_id = %s order by created_at, key", (run_id,))
        return [OrderRow(**row) for row in rows]  # type: ignore[typeddict-item]  # the columns are its keys

    async def due(self, *, limit: int = 100, put_off: timedelta = timedelta(seconds=5)) -> list[str]:
        """The keys of orders that should be looked at now."""
        rows = await self.db.fetch_all(
            "update orders set next_look_at = now() + %s where key in (select key from orders"
            " where next_look_at <= now() and kind <> 'model' order by next_look_at limit %s for update skip locked)"
            " returning key",
            (put_off, limit),
        )
        return [str(row["key"]) for row in rows]

    async def answer(self, key: str, run_id: str | None, ask: Callable[[], Awaitable[Answer[Any]]]) -> dict[str, Any]:
        """A model's answer, asked for once and kept. See `graph.ports.Ledger`.

        A model server knows no ids to look up: an answer that was lost with its process is asked for again, and
        its tokens are paid again. It is the one thing that is, and it is bounded by the caps like everything else.
        """
        known = await self.row(key)
        if known and known["state"] == "settled":
            return known["result"] or {}
        if not known:
            await self._reserve_answer(key, run_id)
        reached("answer.before")
        answer = await ask()
        reached("answer.after")
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

    async def spent(self, key: str, input_tokens: int, output_tokens: int) -> None:
        """Write down the tokens of a message in a talk, which belongs to no run."""
        await self.db.execute(
            "insert into orders (key, kind, provider, request, amount_usd, spent_usd, state, called_at, settled_at)"
            " values (%s, 'model', 'model', '{}', 0, %s, 'settled', now(), now()) on conflict (key) do nothing",
            (key, self.usd_of_tokens(input_tokens, output_tokens)),
        )

    async def _reserve_answer(self, key: str, run_id: str | None) -> None:
        async with self.db.transaction() as conn:
            if run_id and await (await conn.execute(CANCELLED, (run_id,))).fetchone():
                raise Refused("cancelled", "The run was cancelled before this was asked.")
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
            await record(conn, source="ledger", kind=kind, run_id=row["run_id"], subject=key, payload=said)
            await conn.execute("update runs set next_look_at = now() where id = %s", (row["run_id"],))
        return True

    async def _note(self, key: str, kind: str, said: Mapping[str, Any]) -> None:
        await self._move("update orders set next_look_at = now() where key = %(key)s", key, kind, said)
