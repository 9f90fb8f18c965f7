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

from providers.base import Done, Failed, Missing, Pending, Unavailable
from runs.production import Production
from storage.ledger import LATE_LOOK
from storage.locks import Busy
from storage.orders import OrderRow
from storage.points import reached

log = logging.getLogger(__name__)

#: What a file that an order made is kept as, by the order's kind.
KEPT_AS = {"clip": "clip", "render": "final_video"}
#: Between two looks at an order: at first often, then less and less, up to the last of these seconds.
RHYTHM = (1, 1, 2, 2, 3, 5, 5, 10, 15)
#: How long an order is waited for whose provider is away; and one that never comes to its end.
LOST_AFTER = {"clip": timedelta(hours=24), "render": timedelta(minutes=30), "publication": timedelta(hours=24)}
ENDLESS = timedelta(hours=24)
NEVER_DONE = Unavailable("never_done", "It did not come to its end within a day")
#: A share that has grown by less is the same.
LEAST_PROGRESS = 0.005
#: How long a provider may not know an order that it has taken: one of several servers may not have heard of it.
MISSING_AFTER = timedelta(minutes=5)


async def collect(production: Production, key: str) -> None:
    """Bring the order of this key as far as its provider allows, unless somebody else does."""
    try:
        async with production.locks.hold(f"order:{key}"):
            order = await production.ledger.row(key)
            if order and order["settled_at"] is None:
                await _bring_on(production, order)
                await _tell(production, key)
    except Busy:
        log.debug("order %s is in somebody else's hands", key)


async def _bring_on(production: Production, order: OrderRow) -> None:
    if order["state"] == "reserved" and order["called_at"] is None:
        await production.ledger.place(order["key"])
    elif order["called_at"]:
        await look_for(production, order)


async def look_for(production: Production, order: OrderRow) -> bool:
    """See what became of an order that was called; False if its provider could not be asked.

    One whose provider the settings do not name any more cannot be asked for, and there is nobody to wait for: True.
    """
    provider = production.ledger.providers[order["kind"]]
    if order["provider"] != provider.name:
        await _orphaned(production, order, provider.name)
        return True
    return await (_look(production, order) if order["task_id"] else _find(production, order))


def given_up(order: OrderRow) -> bool:
    """Whether an order was waited for as long as it is waited for any."""
    return _age(order) > LOST_AFTER[order["kind"]]


def _age(order: OrderRow) -> timedelta:
    """How long ago it was placed, as far as is known."""
    return _since(order["submitted_at"] or order["called_at"] or order["created_at"])


def _since(at: datetime) -> timedelta:
    return datetime.now(UTC) - at


async def _orphaned(production: Production, order: OrderRow, now: str) -> None:
    """The settings name another provider now. A render costs nothing and is made there; the rest must be waited for."""
    said = f"It was ordered from {order['provider']}, and the settings name {now} now."
    if order["kind"] == "render":
        await production.ledger.fail(order["key"], "renderer_changed", f"{said} Try again.")
        return
    log.warning("order %s: %s", order["key"], said)
    await _wait(production, order, LATE_LOOK, given_up(order))


async def _tell(production: Production, key: str) -> None:
    order = await production.ledger.row(key)
    if order and order["run_id"] and order["state"] in ("settled", "failed", "unknown"):
        production.wake.advance(str(order["run_id"]))


async def _wait(production: Production, order: OrderRow, pause: timedelta, too_long: bool) -> None:
    """Look again later; what took too long is of unknown outcome, and looked after all the same, now and then."""
    if order["state"] == "unknown":
        await production.ledger.look_again(order["key"], LATE_LOOK)
    elif too_long:
        await production.ledger.lose(order["key"])
    else:
        await production.ledger.look_again(order["key"], pause)


async def _find(production: Production, order: OrderRow) -> bool:
    """The call was made and nobody knows what came of it: look it up, never make it again."""
    ledger, key, called_at = production.ledger, order["key"], order["called_at"]
    provider = ledger.providers[order["kind"]]
    assert called_at is not None  # noqa: S101 - the caller looked
    try:
        reached("find.before")
        found = await provider.find(order["request"], key=key, since=called_at)
        reached("find.after")
    except Unavailable as error:
        log.info("order %s cannot be looked up now: %s", key, error.message)
        await _wait(production, order, _pause(order), given_up(order))
        return False
    candidates = await ledger.unbound(provider.name, found)
    for position, task_id in enumerate(candidates, start=1):
        if await ledger.bind(key, task_id):
            # Prompts are unique to their order: whatever else looks like it was made, and charged, for it too.
            await ledger.report_duplicates(key, candidates[position:])
            return True
    await _wait(production, order, _pause(order), _since(called_at) > provider.patience)
    return True


async def _look(production: Production, order: OrderRow) -> bool:
    """Ask the provider how far it is, and keep what it made. False if it cannot be told now."""
    ledger, key = production.ledger, order["key"]
    provider = ledger.providers[order["kind"]]

    async def progress(share: float) -> None:
        await ledger.look_again(key, timedelta(seconds=5), share)

    async with _folder(production.scratch) as into:
        try:
            reached("look.before")
            fate = await provider.look(order["task_id"] or "", order["request"], into=into, progress=progress)
            reached("look.after")
        except Unavailable as error:
            log.info("order %s: %s (%s)", key, error.message, error.code)
            await _late(production, order, error, LOST_AFTER[order["kind"]])
            return False
        match fate:
            case Pending(share):
                await _pending(production, order, share)
            case Missing():
                await ledger.missing(key)
                since = order["missing_since"] or datetime.now(UTC)
                await _wait(production, order, _pause(order), _since(since) > MISSING_AFTER)
            case Failed(code, message, charged):
                await ledger.fail(key, code, message, charged=charged)
            case Done() as done:
                await ledger.settle(key, await _kept(production, order, done))
    return True


async def _pending(production: Production, order: OrderRow, share: float | None) -> None:
    """It is being made, and so is not of unknown outcome, unless it has been for longer than anything takes."""
    known = order["progress"] or 0.0
    # What comes back from the database has fewer digits than what went in.
    further = share is not None and abs(share - known) >= LEAST_PROGRESS
    if _age(order) > ENDLESS and not further:
        await _late(production, order, NEVER_DONE, ENDLESS)
        return
    if order["state"] == "unknown" or order["missing_since"]:
        await production.ledger.there(order["key"])
    await production.ledger.look_again(order["key"], _pause(order), share if further else None)


async def _late(production: Production, order: OrderRow, why: Unavailable, patience: timedelta) -> None:
    """Nothing came of it yet. A render that takes too long has failed, and costs nothing to be made anew."""
    too_long = _age(order) > patience
    if order["kind"] == "render" and too_long:
        await production.ledger.fail(order["key"], why.code, why.message)
    else:
        await _wait(production, order, _pause(order), too_long)


async def _kept(production: Production, order: OrderRow, done: Done) -> dict[str, Any]:
    """What the order made, kept: its facts, and the digests of its files."""
    result: dict[str, Any] = dict(done.facts)
    if done.file is not None:
        kind = KEPT_AS[order["kind"]]
        keep = production.artifacts.keep
        result["digest"] = await keep(done.file, kind=kind, media_type="video/mp4", facts=done.facts)
        if done.original is not None and done.original != done.file:
            original = await keep(done.original, kind=f"{kind}_original", media_type="video/mp4", facts={})
            result["original_digest"] = original
    return result


def _pause(order: OrderRow) -> timedelta:
    return timedelta(seconds=RHYTHM[min(order["looks"], len(RHYTHM) - 1)])


@asynccontextmanager
async def _folder(scratch: Path) -> AsyncIterator[Path]:
    into = scratch / uuid4().hex
    into.mkdir(parents=True)
    try:
        yield into
    finally:
        await asyncio.to_thread(shutil.rmtree, into, ignore_errors=True)
