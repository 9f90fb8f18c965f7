"""The ledger: the only place that spends. An order is a row before it is a call, and is called once."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg.sql import SQL

from providers.base import NotSent, OutcomeUnknown, Provider, ProviderError, Refused, short_name
from providers.orders import NOT_AWAITED, PUBLISHER_CHANGED, Order, OrderKey
from storage.actors import RequestContext
from storage.admission import CANCELLED_FIRST, CapRoom, ModelCalls, check_admission, check_replay, tightest_cap
from storage.database import Connection, fetch_all, fetch_one, from_now, insert_statement, read_statements
from storage.events import event_values, record_event, with_event
from storage.failpoints import hit
from storage.orders import OrderRow
from storage.spending import lock_spending
from storage.troubles import end, report
from telemetry.logs import identified
from telemetry.metrics import ORDERS, observed

log = logging.getLogger(__name__)

#: Delay before the first look for an order whose call may have been interrupted.
FIRST_POLL_DELAY = timedelta(seconds=1)
#: Attempts to submit an order that did not arrive, before it fails: about a day.
MAX_SUBMIT_ATTEMPTS = 1_450
#: Poll interval of an order of unknown outcome.
UNKNOWN_POLL_INTERVAL = timedelta(minutes=1)
#: The provider of clips whose approved offer is of an earlier version, and names none.
UNNAMED_PROVIDER = "videos"
#: A claim is used within this time or not at all.
CLAIM_TIMEOUT_SECONDS = 5.0

sql = read_statements("ledger")

OTHER_PROVIDER = {
    "publication": {
        "code": PUBLISHER_CHANGED,
        "message": "The settings name another publisher than the approved one. Approve the post for this one.",
    },
    "clip": {
        "code": "provider_not_configured",
        "message": "The approved provider is not configured any more, and nothing was ordered.",
    },
}


@dataclass(eq=False)
class Ledger(ModelCalls):
    """Orders, and the only way to place them.

    `providers` are those of each kind of orders, the preferred one first. `publishers` are the names of the publishers
    of projects, by project.
    """

    providers: Mapping[str, Sequence[Provider]]
    publishers: Mapping[str, str] = field(default_factory=dict)

    def find_provider(self, kind: str, name: str) -> Provider | None:
        """Return the provider of this name for orders of this kind; its short name, without host, is sufficient."""
        known, wanted = self.providers[kind], name or UNNAMED_PROVIDER
        found = next((each for each in known if wanted in (each.name, short_name(each.name))), None)
        return found or (None if name else known[0])

    def provider_of(self, order: OrderRow) -> Provider:
        """Return the provider of the order, or the first one of its kind if it is not configured any more."""
        known = self.find_provider(order.kind, order.provider)
        return known if known and known.name == order.provider else self.providers[order.kind][0]

    async def place_once(self, order: Order) -> None:
        """Place the order, at most once for its key. See `graph.dependencies.Ledger`."""
        await self.reserve([order])
        await self.place(str(order.key))

    async def reserve(self, orders: Sequence[Order]) -> None:
        """Reserve these orders of one run, all or none of them. See `graph.dependencies.Ledger`."""
        known_keys: LiteralString = "select key from orders where key = any(%s)"
        keys = [str(order.key) for order in orders]
        if len(await self.db.fetch_all(known_keys, (keys,))) == len(set(keys)):
            return
        async with self.db.transaction() as conn:
            if any(order.amount_usd for order in orders):
                await lock_spending(conn, orders[0].run_id)
            known = {row["key"] for row in await fetch_all(conn, known_keys, (keys,))}
            new = [order for order in orders if str(order.key) not in known]
            refused = await self._refusal(conn, new) if new else None
            for order in new:
                await self._insert(conn, order, refused)

    async def _refusal(self, conn: Connection, orders: Sequence[Order]) -> dict[str, str] | None:
        refused = await check_admission(conn, self.caps, orders)
        unknown = [order.kind for order in orders if not self.find_provider(order.kind, order.provider)]
        return refused or (OTHER_PROVIDER[unknown[0]] if unknown else None)

    async def tightest_cap(self, run_id: UUID | str) -> CapRoom:
        """Return the cap that leaves this run the least, as the admission of its next orders applies it."""
        async with self.db.transaction() as conn:
            return await tightest_cap(conn, self.caps, run_id)

    async def _insert(self, conn: Connection, order: Order, refused: dict[str, str] | None) -> None:
        key, found = str(order.key), self.find_provider(order.kind, order.provider)
        provider = found.name if found else order.provider
        names = ("run_id", "kind", "request", "amount_usd")
        values = {"key": key, "provider": provider, **{name: getattr(order, name) for name in names}}
        if order.kind == "clip":
            values |= {"clip": order.key.number, "take": order.key.attempt}
        if refused:
            kind, payload = "order.refused", refused
            values |= {"state": "failed", "result": refused, "settled_at": from_now()}
        else:
            scheduled = {name: order.request[name] for name in ("publish_at",) if name in order.request}
            kind, payload = "order.reserved", {"usd": str(order.amount_usd), **scheduled}
            decision = order.approval.decision if order.approval else None
            first_poll_at = order.request.get("publish_at") or from_now(FIRST_POLL_DELAY)
            values |= {"decision": decision, "next_poll_at": first_poll_at}
        event = event_values("ledger", kind, payload, subject=key)
        await fetch_one(conn, with_event(insert_statement("orders", values)), {**values, **event})
        ORDERS.labels(order.kind, provider, kind.removeprefix("order.")).inc()

    async def place(self, key: str) -> None:
        """Submit a reserved order that was not submitted before, if it is time, and record the outcome.

        An order of a restored run is looked up instead, until a person releases it.
        """
        with identified(key):
            await self._place(key)

    async def _place(self, key: str) -> None:
        started_at = time.monotonic()
        names = {short_name(each.name): each.name for each in self.providers["clip"]}
        names |= {kind: self.providers[kind][0].name for kind in ("render", "speech") if kind in self.providers}
        providers = {"names": names, "publishers": {"": self.providers["publication"][0].name, **self.publishers}}
        values = {"key": key, "poll_in": FIRST_POLL_DELAY, **providers}
        claimed = await self.db.fetch_one(sql["claim"], values, row=OrderRow)
        if claimed is None:
            await self._update(sql["release"], key, "order.refused", CANCELLED_FIRST, result=CANCELLED_FIRST)
            kind = OrderKey.parse(key).kind
            if other := OTHER_PROVIDER.get(kind):
                await self._update(sql["refuse"], key, "order.refused", other, result=other, **providers)
            if kind == "publication":
                await self.db.execute(sql["await_time"], {"key": key})
            return
        if claimed.lookup_since:
            await self._update(sql["poll_now"], key, "order.held", {"since": f"{claimed.lookup_since:%Y-%m-%d %H:%M}"})
            return
        hit("submit.before")
        if time.monotonic() - started_at > CLAIM_TIMEOUT_SECONDS:
            # The process was frozen after its claim and cannot know what others did with the order since.
            error = NotSent("frozen", "The process was suspended before the call; the order is placed again.")
            await self._schedule_retry(claimed, error)
        else:
            await self._submit(claimed)

    async def _submit(self, order: OrderRow) -> None:
        provider = self.provider_of(order)
        try:
            with observed(provider.name, "submit"):
                task_id = await provider.submit(order.request, key=order.key)
        except NotSent as error:
            await self._schedule_retry(order, error)
        except Refused as error:
            await self.fail(order.key, error.code, error.message)
        except OutcomeUnknown as error:
            payload = {"code": error.code, "message": error.message}
            await self._update(sql["poll_now"], order.key, "order.submit_timed_out", payload)
            await self._report(order, error)
        else:
            hit("submit.after")
            hit(f"submit.accepted.{order.kind}")
            if not await self.bind(order, task_id):
                # A person has declared that it was not generated, but it was, and is charged.
                await self.report_duplicates(order.key, [task_id])

    async def _schedule_retry(self, order: OrderRow, error: NotSent) -> None:
        """Schedule another attempt to place an order that was not sent, with backoff; fail it after the last one."""
        if order.poll_count + 1 >= MAX_SUBMIT_ATTEMPTS:
            await self.fail(order.key, error.code, error.message)
            return
        await self._report(order, error)
        after = timedelta(seconds=min(2**order.poll_count, 60))
        await self.db.execute(sql["retry_later"], {"key": order.key, "after": after})

    async def _report(self, order: OrderRow, error: ProviderError) -> None:
        if order.run_id:
            await report(self.db, order.key, order.run_id, error)

    async def place_again(self, key: str, provider: str) -> bool:
        """Place a render, which costs nothing, at another provider than the one that it was ordered from."""
        return await self._update(sql["place_again"], key, "order.moved", {"provider": provider}, provider=provider)

    async def bind(self, order: OrderRow, task_id: str) -> bool:
        """Save the provider's id of an order that was called. Return False if that id belongs to another order."""
        key, payload, poll_in = order.key, {"task_id": task_id}, self.provider_of(order).poll_pause(0)
        if await self._update(sql["bind"], key, "order.submitted", payload, task_id=task_id, poll_in=poll_in):
            return True
        row = await self.get(key)
        return row is not None and row.task_id == task_id

    async def replay(self, key: str) -> bool:
        """Submit an order without a known outcome again to a provider that recognises its key, and returns the first.

        A lookup changes nothing; a replay buys if the first call never arrived. It is admitted like the first call.
        Hold the lock of the order: two calls at the same time could be two orders. Return False if it may not be
        submitted again.
        """
        started_at = time.monotonic()
        order = await self._claim_replay(key)
        if order is None:
            return False
        hit("submit.before")
        if time.monotonic() - started_at > CLAIM_TIMEOUT_SECONDS:
            return True  # the process was frozen: the next poll decides again
        provider = self.provider_of(order)
        try:
            with observed(provider.name, "submit"):
                task_id = await provider.submit(order.request, key=order.key)
        except (NotSent, OutcomeUnknown) as error:
            log.info("order %s: the replay has no answer: %s", key, error.message)
        except Refused as error:
            # Refers to the second call: the first one may have been accepted all the same.
            log.warning("order %s: the replay was refused: %s", key, error.message)
            await self.mark_unknown(key)
        else:
            hit("submit.after")
            if not await self.bind(order, task_id):
                await self.report_duplicates(key, [task_id])
        return True

    async def _claim_replay(self, key: str) -> OrderRow | None:
        """Return the order to submit again, or None if it may not be."""
        order = await self.get(key)
        if order is None or (replayable := self.provider_of(order).replayable) is None:
            return None
        if datetime.now(UTC) - order.placed_since > replayable:
            return None
        async with self.db.transaction() as conn:
            await lock_spending(conn, order.run_id, orders=[key])
            if refused := await check_replay(conn, self.caps, order):
                log.info("order %s is not submitted again: %s", key, refused["message"])
                return None
            if await fetch_one(conn, sql["claim_replay"], {"key": key, "replayable": replayable}) is None:
                return None
            await record_event(conn, "ledger", "order.replayed", order.run_id, {}, subject=key)
            return order

    async def settle(self, key: str, result: Mapping[str, Any]) -> bool:
        """Close a fulfilled order; its reserved amount is spent. Return False if it was closed already.

        An order that failed and was charged can still be fulfilled: its file was fetched after all.
        """
        payload = {name: result[name] for name in ("digest", "seconds") if name in result}
        return await self._update(sql["settle"], key, "order.settled", payload, result=dict(result))

    async def fail(self, key: str, code: str, message: str, *, charged: bool = False) -> bool:
        """Close an order without a result, and release its amount, or spend it if `charged`. False if it was closed."""
        result = {"code": code, "message": message, **({"charged": True} if charged else {})}
        return await self._update(sql["fail_open"], key, "order.failed", result, result=result)

    async def mark_unknown(self, key: str) -> bool:
        """Mark the outcome of an order as unknown, because it was called and cannot be found, or never finishes.

        A person has to declare it. It is still polled at a longer interval: a late result counts.
        """
        return await self._update(sql["mark_unknown"], key, "order.outcome_unknown", {}, poll_in=UNKNOWN_POLL_INTERVAL)

    async def stop_waiting(self, key: str) -> None:
        """Close an order that was not sent or costs nothing; mark any other one, which may be charged, as unknown."""
        result = {"code": NOT_AWAITED, "message": "A person decided not to wait for it any longer."}
        if not await self._update(sql["stop_waiting"], key, "order.failed", result, result=result):
            await self.mark_unknown(key)

    async def declare_not_made(self, run_id: UUID | str, keys: Sequence[str], context: RequestContext) -> None:
        """Fail those of these orders that have an unknown outcome, and release their amounts.

        An order that was looked up because its run was restored is placed instead: it was never called.
        """
        actor = context.actor.as_json()
        result = {"code": "declared_not_made", "message": f"Declared as not made by {actor['name']}."}
        values = {"result": result, "run_id": run_id, "keys": list(keys)}
        async with self.db.transaction() as conn:
            await lock_spending(conn, run_id, orders=keys)
            for row in await fetch_all(conn, sql["release_held"], values):
                subject, released = row["key"], {"actor": actor}
                await record_event(conn, context.channel, "order.released", run_id, released, subject=subject)
            for row in await fetch_all(conn, sql["declare_not_made"], values):
                payload, subject = {**result, "actor": actor}, row["key"]
                await record_event(conn, context.channel, "order.failed", run_id, payload, subject=subject)

    async def _update(
        self, update: LiteralString, key: str, kind: str, payload: Mapping[str, Any], **values: object
    ) -> bool:
        """Run a guarded update. If it changed the order, record the event and wake the run in the same statement.

        Every such change is progress and ends a trouble of the order.
        """
        in_trouble: LiteralString = "exists (select from troubles where subject = orders.key) as in_trouble"
        event = event_values("ledger", kind, payload, subject=key, wakes=True)
        statement = with_event(SQL(f"{update} returning run_id, provider, {in_trouble}"))
        changed = await self.db.change(statement, {"key": key, **values, **event})
        if changed and changed["in_trouble"]:
            await end(self.db, key)
        if changed:
            log.info("%s: %s", key, kind)
            ORDERS.labels(OrderKey.parse(key).kind, changed["provider"], kind.removeprefix("order.")).inc()
        return changed is not None
