"""Look after one order: place it, find it, fetch what it made. May be called at any time, any number of times."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from providers.base import Failed, NotFound, Pending, Succeeded, Unavailable
from runs.services import Services
from storage.failpoints import hit
from storage.ledger import UNKNOWN_POLL_INTERVAL
from storage.locks import LockBusy
from storage.orders import OrderRow

log = logging.getLogger(__name__)

#: What a file that an order made is kept as, by the order's kind.
ARTIFACT_KINDS = {"clip": "clip", "render": "final_video"}
#: Between two looks at an order: at first often, then less and less, up to the last of these seconds.
POLL_INTERVALS_SECONDS = (1, 1, 2, 2, 3, 5, 5, 10, 15)
#: How long an order is waited for whose provider is away; and one that never comes to its end.
UNREACHABLE_AFTER = {"clip": timedelta(hours=24), "render": timedelta(minutes=30), "publication": timedelta(hours=24)}
MAX_DURATION = timedelta(hours=24)
NEVER_DONE = Unavailable("never_done", "It did not come to its end within a day")
#: A share that has grown by less is the same.
LEAST_PROGRESS = 0.005
#: How long a provider may not know an order that it has taken: one of several servers may not have heard of it.
NOT_FOUND_AFTER = timedelta(minutes=5)


async def reconcile_order(services: Services, key: str) -> None:
    """Bring the order of this key as far as its provider allows, unless somebody else does."""
    try:
        async with services.locks.hold(f"order:{key}"):
            order = await services.ledger.get(key)
            if order and order["settled_at"] is None:
                await _bring_on(services, order)
                await _tell(services, key)
    except LockBusy:
        log.debug("order %s is in somebody else's hands", key)


async def _bring_on(services: Services, order: OrderRow) -> None:
    if order["state"] == "reserved" and order["called_at"] is None:
        await services.ledger.place(order["key"])
    elif order["called_at"]:
        await check_order(services, order)


async def check_order(services: Services, order: OrderRow) -> bool:
    """See what became of an order that was called; False if its provider could not be asked.

    One whose provider the settings do not name any more cannot be asked for, and there is nobody to wait for: True.
    """
    provider = services.ledger.providers[order["kind"]]
    if order["provider"] != provider.name:
        await _orphaned(services, order, provider.name)
        return True
    return await (_look(services, order) if order["task_id"] else _find(services, order))


def is_overdue(order: OrderRow) -> bool:
    """Whether an order was waited for as long as it is waited for any."""
    return _age(order) > UNREACHABLE_AFTER[order["kind"]]


def _age(order: OrderRow) -> timedelta:
    """How long ago it was placed, as far as is known."""
    return _since(order["submitted_at"] or order["called_at"] or order["created_at"])


def _since(at: datetime) -> timedelta:
    return datetime.now(UTC) - at


async def _orphaned(services: Services, order: OrderRow, now: str) -> None:
    """The settings name another provider now. A render costs nothing and is made there; the rest must be waited for."""
    said = f"It was ordered from {order['provider']}, and the settings name {now} now."
    if order["kind"] == "render":
        await services.ledger.fail(order["key"], "renderer_changed", f"{said} Try again.")
        return
    log.warning("order %s: %s", order["key"], said)
    await _wait(services, order, UNKNOWN_POLL_INTERVAL, is_overdue(order))


async def _tell(services: Services, key: str) -> None:
    order = await services.ledger.get(key)
    if order and order["run_id"] and order["state"] in ("settled", "failed", "unknown"):
        services.wakeups.advance(str(order["run_id"]))


async def _wait(services: Services, order: OrderRow, pause: timedelta, too_long: bool) -> None:
    """Look again later; what took too long is of unknown outcome, and looked after all the same, now and then."""
    if order["state"] == "unknown":
        await services.ledger.reschedule_poll(order["key"], UNKNOWN_POLL_INTERVAL)
    elif too_long:
        await services.ledger.mark_unknown(order["key"])
    else:
        await services.ledger.reschedule_poll(order["key"], pause)


async def _find(services: Services, order: OrderRow) -> bool:
    """The call was made and nobody knows what came of it: look it up, never make it again."""
    ledger, key, called_at = services.ledger, order["key"], order["called_at"]
    provider = ledger.providers[order["kind"]]
    assert called_at is not None  # noqa: S101 - the caller looked
    try:
        hit("find.before")
        found = await provider.lookup(order["request"], key=key, since=called_at)
        hit("find.after")
    except Unavailable as error:
        log.info("order %s cannot be looked up now: %s", key, error.message)
        await _wait(services, order, _pause(order), is_overdue(order))
        return False
    candidates = await ledger.unbound(provider.name, found)
    for position, task_id in enumerate(candidates, start=1):
        if await ledger.bind(key, task_id):
            # Prompts are unique to their order: whatever else looks like it was made, and charged, for it too.
            await ledger.report_duplicates(key, candidates[position:])
            return True
    await _wait(services, order, _pause(order), _since(called_at) > provider.lookup_window)
    return True


async def _look(services: Services, order: OrderRow) -> bool:
    """Ask the provider how far it is, and keep what it made. False if it cannot be told now."""
    ledger, key = services.ledger, order["key"]
    provider = ledger.providers[order["kind"]]

    async def progress(share: float) -> None:
        await ledger.reschedule_poll(key, timedelta(seconds=5), share)

    async with _folder(services.scratch) as into:
        try:
            hit("look.before")
            fate = await provider.poll(order["task_id"] or "", order["request"], into=into, progress=progress)
            hit("look.after")
        except Unavailable as error:
            log.info("order %s: %s (%s)", key, error.message, error.code)
            await _late(services, order, error, UNREACHABLE_AFTER[order["kind"]])
            return False
        match fate:
            case Pending(share):
                await _pending(services, order, share)
            case NotFound():
                await ledger.mark_not_found(key)
                since = order["missing_since"] or datetime.now(UTC)
                await _wait(services, order, _pause(order), _since(since) > NOT_FOUND_AFTER)
            case Failed(code, message, charged):
                await ledger.fail(key, code, message, charged=charged)
            case Succeeded() as done:
                await ledger.settle(key, await _kept(services, order, done))
    return True


async def _pending(services: Services, order: OrderRow, share: float | None) -> None:
    """It is being made, and so is not of unknown outcome, unless it has been for longer than anything takes."""
    known = order["progress"] or 0.0
    # What comes back from the database has fewer digits than what went in.
    further = share is not None and abs(share - known) >= LEAST_PROGRESS
    if _age(order) > MAX_DURATION and not further:
        await _late(services, order, NEVER_DONE, MAX_DURATION)
        return
    if order["state"] == "unknown" or order["missing_since"]:
        await services.ledger.mark_found(order["key"])
    await services.ledger.reschedule_poll(order["key"], _pause(order), share if further else None)


async def _late(services: Services, order: OrderRow, why: Unavailable, patience: timedelta) -> None:
    """Nothing came of it yet. A render that takes too long has failed, and costs nothing to be made anew."""
    too_long = _age(order) > patience
    if order["kind"] == "render" and too_long:
        await services.ledger.fail(order["key"], why.code, why.message)
    else:
        await _wait(services, order, _pause(order), too_long)


async def _kept(services: Services, order: OrderRow, done: Succeeded) -> dict[str, Any]:
    """What the order made, kept: its facts, and the digests of its files."""
    result: dict[str, Any] = dict(done.facts)
    if done.file is not None:
        kind = ARTIFACT_KINDS[order["kind"]]
        keep = services.artifacts.store
        result["digest"] = await keep(done.file, kind=kind, media_type="video/mp4", facts=done.facts)
        if done.original is not None and done.original != done.file:
            original = await keep(done.original, kind=f"{kind}_original", media_type="video/mp4", facts={})
            result["original_digest"] = original
    return result


def _pause(order: OrderRow) -> timedelta:
    return timedelta(seconds=POLL_INTERVALS_SECONDS[min(order["looks"], len(POLL_INTERVALS_SECONDS) - 1)])


@asynccontextmanager
async def _folder(scratch: Path) -> AsyncIterator[Path]:
    into = scratch / uuid4().hex
    into.mkdir(parents=True)
    try:
        yield into
    finally:
        await asyncio.to_thread(shutil.rmtree, into, ignore_errors=True)
