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

from providers.base import Done, Failed, Pending, Unavailable
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
#: How long after it was placed an order may still meet an unavailable provider before it counts as failed.
LOST_AFTER = {"clip": timedelta(hours=24), "render": timedelta(minutes=30), "publication": timedelta(hours=24)}


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
    provider = production.ledger.providers[order["kind"]]
    if order["called_at"] and order["provider"] != provider.name:
        await _orphaned(production, order, provider.name)
    elif order["state"] == "submitted":
        await _look(production, order)
    elif order["state"] == "reserved" and order["called_at"] is None:
        await production.ledger.place(order["key"])
    elif order["state"] in ("reserved", "unknown"):
        await find(production, order)


async def _orphaned(production: Production, order: OrderRow, now: str) -> None:
    """The settings name another provider now. A render costs nothing and is made there; the rest must be waited for."""
    if order["kind"] == "render":
        said = f"It was ordered from {order['provider']}, and {now} renders now: try again."
        await production.ledger.fail(order["key"], "renderer_changed", said)
        return
    log.warning("order %s is with %s, which the settings do not name any more", order["key"], order["provider"])
    await production.ledger.look_again(order["key"], LATE_LOOK)


async def _tell(production: Production, key: str) -> None:
    order = await production.ledger.row(key)
    if order and order["run_id"] and order["state"] in ("settled", "failed", "unknown"):
        production.wake.advance(str(order["run_id"]))


async def find(production: Production, order: OrderRow) -> None:
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
        await ledger.look_again(key, _pause(order))
        return
    candidates = await ledger.unbound(provider.name, found)
    for position, task_id in enumerate(candidates, start=1):
        if await ledger.bind(key, task_id):
            # Prompts are unique to their order: whatever else looks like it was made, and charged, for it too.
            await ledger.report_duplicates(key, candidates[position:])
            return
    if order["state"] == "unknown":
        await ledger.look_again(key, LATE_LOOK)
    elif datetime.now(UTC) - called_at > provider.patience:
        await ledger.lose(key)
    else:
        await ledger.look_again(key, _pause(order))


async def _look(production: Production, order: OrderRow) -> None:
    """Ask the provider how far it is, and keep what it made."""
    ledger, key = production.ledger, order["key"]
    provider = ledger.providers[order["kind"]]

    async def progress(share: float) -> None:
        await ledger.look_again(key, timedelta(seconds=5), share)

    async with _folder(production.scratch) as into:
        try:
            reached("look.before")
            state = await provider.look(order["task_id"] or "", order["request"], into=into, progress=progress)
            reached("look.after")
        except Unavailable as error:
            await _unavailable(production, order, error)
            return
        match state:
            case Pending(share):
                changed = share is not None and share != order["progress"]
                await ledger.look_again(key, _pause(order), share if changed else None)
            case Failed(code, message):
                await ledger.fail(key, code, message)
            case Done() as done:
                await ledger.settle(key, await _kept(production, order, done))


async def _unavailable(production: Production, order: OrderRow, error: Unavailable) -> None:
    log.info("order %s: %s (%s)", order["key"], error.message, error.code)
    since = order["submitted_at"] or order["created_at"]
    if datetime.now(UTC) - since > LOST_AFTER[order["kind"]]:
        await production.ledger.fail(order["key"], error.code, error.message)
    else:
        await production.ledger.look_again(order["key"], _pause(order))


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
