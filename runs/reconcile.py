"""Reconcile an order with its provider: place, look up, poll, store its result; in any process, any number of times."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agents.roles import with_correlation_tag, without_correlation_tag
from providers.base import Unavailable, Unconfirmed, default_pause, disk_unwritable, short_name
from providers.media import intake
from providers.orders import OrderKey
from providers.results import Failed, FileMissing, NotFound, Pending, Succeeded
from runs.services import Services
from storage import troubles
from storage.database import DatabaseError
from storage.failpoints import hit
from storage.ledger import UNKNOWN_POLL_INTERVAL, Ledger
from storage.locks import LockBusy, LockLost
from storage.orders import OrderRow
from telemetry.metrics import RENDER_SECONDS, observed

log = logging.getLogger(__name__)

#: The artifact kind of the file that an order produces, by the kind of the order.
ARTIFACT_KINDS = {"clip": "clip", "render": "final_video", "speech": intake.SOUND_KIND}
SUBTITLES_TYPE = "application/x-subrip"
#: How long an order waits for an unavailable provider, and how long any order may take.
UNREACHABLE_AFTER = {"clip": timedelta(hours=24), "render": timedelta(minutes=30), "publication": timedelta(hours=24)}
UNREACHABLE_AFTER["speech"] = UNREACHABLE_AFTER["clip"]
MAX_DURATION = timedelta(hours=24)
NEVER_DONE = Unavailable("never_done", "The order did not finish within a day")
#: A smaller difference between what was approved and what is charged is a rounding.
TOLD_DIFFERENCE_USD = Decimal("0.005")
#: A smaller increase of the progress is none.
MIN_PROGRESS_STEP = 0.005
PROGRESS_POLL_DELAY = timedelta(seconds=5)
#: How long a provider may not know an order that it has accepted, or not serve the file of a finished one: one of its
#: servers may be behind the others.
NOT_FOUND_AFTER = timedelta(minutes=5)
#: How many attempts of an order are looked up that may have been made after a backup.
ATTEMPTS_SINCE_BACKUP = 4


class NoOutcome(Unavailable):
    """The provider was reached, and its answer does not contain the outcome of the order."""


async def reconcile_order(services: Services, key: str) -> None:
    """Bring the order with this key up to date, unless another process is doing so."""
    ledger = services.ledger
    try:
        async with services.locks.hold(f"order:{key}"):
            order = await ledger.get(key)
            if order is None or order.settled_at is not None:
                return
            is_placed, error = order.called_at is not None, None
            if is_placed:
                error = await _check(services, order)
            else:
                await ledger.place(key)
            order = await ledger.get(key)
            if order is None or order.run_id is None:
                return
            if is_placed:
                await _report(services, order, error)
            if order.state in ("settled", "failed", "unknown"):
                services.wakeups.advance(str(order.run_id))
    except LockBusy:
        log.debug("order %s is being reconciled by another process", key)


async def _report(services: Services, order: OrderRow, error: Unavailable | None) -> None:
    """Record whether an attempt had a useful answer, while the order is open: a change of its state ends a trouble."""
    if order.run_id is None or order.state not in ("reserved", "submitted"):
        return
    if error is None:
        await troubles.end(services.db, order.key)
    elif await troubles.report(services.db, order.key, order.run_id, error) and error.__cause__:
        log.error("order %s: unexpected error", order.key, exc_info=error.__cause__)


async def check_order(services: Services, order: OrderRow) -> bool:
    """Look up or poll an order that was placed. Return False if its provider is unavailable.

    An order of a provider that the settings no longer name cannot be polled, and no wait would help: True.
    """
    return isinstance(await _check(services, order), NoOutcome | Unconfirmed | None)


async def _check(services: Services, order: OrderRow) -> Unavailable | None:
    """Look up or poll an order. Return why there is no useful answer, and poll it later, or None if there is one."""
    provider = services.ledger.provider_of(order)
    if order.provider != provider.name:
        return await _handle_changed_provider(services.ledger, order, provider.name)
    try:
        return await (_poll(services, order) if order.task_id else _lookup(services.ledger, order))
    except (DatabaseError, LockLost):
        raise
    except Unavailable as cause:
        error = Unavailable(cause.code, cause.message)
    except OSError as cause:
        error = disk_unwritable("MYLOWARE_DATA_DIR", cause)
    except Exception as cause:
        # A defect is tried again like the call of an unavailable provider.
        error = Unavailable("internal_error", "Internal error. The details are in the server log.")
        error.__cause__ = cause
    placed_at = order.submitted_at or order.called_at
    if provider.result_lifetime and placed_at:
        until = placed_at + provider.result_lifetime
        error.message += f" {provider.name} may delete its file from {until:%Y-%m-%d %H:%M} UTC on."
    await _postpone(services.ledger, order, error, UNREACHABLE_AFTER[order.kind])
    return error


def is_overdue(order: OrderRow) -> bool:
    """Return whether the order has waited for as long as its kind may wait."""
    return _age(order) > UNREACHABLE_AFTER[order.kind]


def _age(order: OrderRow) -> timedelta:
    """Return the time since the order was placed, as far as that is known."""
    return _since(order.submitted_at or order.called_at or order.created_at)


def _since(at: datetime) -> timedelta:
    return datetime.now(UTC) - at


async def _handle_changed_provider(ledger: Ledger, order: OrderRow, current: str) -> Unavailable | None:
    """Order a render, which costs nothing, from the current provider instead; wait for any other order."""
    if order.kind == "render":
        if await ledger.place_again(order.key, current):
            await ledger.place(order.key)
        return None
    await _wait(ledger, order, UNKNOWN_POLL_INTERVAL, is_too_late=is_overdue(order))
    advice = "Restore its settings to fetch it."
    message = f"It was ordered from {order.provider}, which is not configured any more. {advice}"
    return NoOutcome("provider_changed", message)


async def _wait(ledger: Ledger, order: OrderRow, pause: timedelta, *, is_too_late: bool) -> None:
    """Schedule the next poll. An order that is too late becomes unknown, and is polled less often."""
    if order.state == "unknown":
        await ledger.reschedule_poll(order.key, UNKNOWN_POLL_INTERVAL)
    elif is_too_late:
        await ledger.mark_unknown(order.key)
    else:
        await ledger.reschedule_poll(order.key, pause)


async def _lookup(ledger: Ledger, order: OrderRow) -> Unavailable | None:
    """Look up a lost order: one whose create call has no known outcome.

    When it is not found, it is submitted again only to a provider that recognises it by its key. Raises Unavailable.
    """
    provider, key, called_at = ledger.provider_of(order), order.key, order.called_at
    assert called_at is not None  # noqa: S101 - only orders that were placed get here
    hit("lookup.before")
    with observed(provider.name, "lookup"):
        if order.lookup_since:
            candidates = await _find_ordered_since_backup(ledger, order)
        else:
            task_ids = await provider.lookup(order.request, key=key, since=order.placed_since)
            candidates = await ledger.unbound(provider.name, task_ids)
    hit("lookup.after")
    for position, task_id in enumerate(candidates, start=1):
        if await ledger.bind(order, task_id):
            # Prompts are unique to their order: any other match is a charge for this order too.
            await ledger.report_duplicates(key, candidates[position:])
            return None
    is_too_late = _since(called_at) > provider.lookup_window
    if is_too_late and order.state == "reserved" and await ledger.replay(key):
        await ledger.reschedule_poll(key, default_pause(order.poll_count))
    else:
        await _wait(ledger, order, default_pause(order.poll_count), is_too_late=is_too_late)
    if since := order.lookup_since:
        message = f"The run was restored from a backup of {since:%Y-%m-%d %H:%M} UTC, and may have ordered this since."
        return NoOutcome("restored", f"{message} {provider.name} does not list it.")
    return NoOutcome("order_not_listed", f"The call had no answer, and {provider.name} does not list the order.")


async def _find_ordered_since_backup(ledger: Ledger, order: OrderRow) -> list[str]:
    """Return the provider's ids of what a run ordered after the backup that it was restored from. Raises Unavailable.

    After this order had failed, the next attempt may have been made: its result is used instead of a second one.
    """
    provider, first = ledger.provider_of(order), OrderKey.parse(order.key)
    for attempt in range(first.attempt, first.attempt + ATTEMPTS_SINCE_BACKUP):
        key = replace(first, attempt=attempt)
        request = order.request
        if key.kind == "clip" and key != first:
            prompt = with_correlation_tag(without_correlation_tag(request["prompt"]), key)
            request = {**request, "prompt": prompt}
        found = await provider.find_existing(request, key=str(key), since=order.placed_since)
        if unbound := await ledger.unbound(provider.name, found):
            return unbound
    return []


async def _poll(services: Services, order: OrderRow) -> Unavailable | None:
    """Poll the provider, and store a finished result. Return why the outcome is not known. Raises Unavailable."""
    ledger, key = services.ledger, order.key
    provider = ledger.provider_of(order)

    async def progress(share: float) -> None:
        await ledger.reschedule_poll(key, PROGRESS_POLL_DELAY, share)

    services.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=services.scratch, ignore_cleanup_errors=True) as folder:
        hit("poll.before")
        try:
            with observed(provider.name, "poll"):
                result = await provider.poll(order.task_id or "", order.request, into=Path(folder), progress=progress)
        except Unconfirmed as error:
            await ledger.record_facts(key, error.facts)
            await _handle_not_found(ledger, order)
            return error
        hit("poll.after")
        match result:
            case Pending(share):
                await _handle_pending(ledger, order, share)
            case NotFound():
                await _handle_not_found(ledger, order)
                return NoOutcome("order_not_found", f"{provider.name} does not know the order at present.")
            case FileMissing(failure):
                await _handle_missing_file(ledger, order, failure)
                return NoOutcome(failure.code, failure.message)
            case Failed(code, message, charged):
                await ledger.fail(key, code, message, charged=charged)
            case Succeeded() as success:
                stored = await _store(services, order, success)
                if await ledger.settle(key, stored) and order.kind == "render":
                    RENDER_SECONDS.labels(order.provider).observe(_age(order).total_seconds())
    return None


async def _handle_missing_file(ledger: Ledger, order: OrderRow, failure: Failed) -> None:
    """Poll again later for a file that a server may serve a moment late; fail the order after the wait."""
    await ledger.mark_file_missing(order.key)
    if _since(order.file_missing_since or datetime.now(UTC)) > NOT_FOUND_AFTER:
        await ledger.fail(order.key, failure.code, failure.message, charged=failure.charged)
    else:
        await ledger.reschedule_poll(order.key, default_pause(order.poll_count))


async def _handle_pending(ledger: Ledger, order: OrderRow, share: float | None) -> None:
    """Mark the order as found and poll it later, unless it has taken too long without progress."""
    # The database returns fewer digits than were written.
    has_progressed = share is not None and abs(share - (order.progress or 0.0)) >= MIN_PROGRESS_STEP
    if _age(order) > MAX_DURATION and not has_progressed:
        await _postpone(ledger, order, NEVER_DONE, MAX_DURATION)
        return
    if order.state == "unknown" or order.missing_since or order.file_missing_since:
        await ledger.mark_found(order.key)
    pause = ledger.provider_of(order).poll_pause(order.poll_count)
    await ledger.reschedule_poll(order.key, pause, share if has_progressed else None)


async def _handle_not_found(ledger: Ledger, order: OrderRow) -> None:
    """Wait for an order that the provider does not know, or of which it does not say the outcome; not for long."""
    await ledger.mark_not_found(order.key)
    since = order.missing_since or datetime.now(UTC)
    await _wait(ledger, order, default_pause(order.poll_count), is_too_late=_since(since) > NOT_FOUND_AFTER)


async def _postpone(ledger: Ledger, order: OrderRow, error: Unavailable, limit: timedelta) -> None:
    """Poll again later. A render over the limit fails instead: another one costs nothing."""
    is_too_late = _age(order) > limit
    if order.kind == "render" and is_too_late:
        await ledger.fail(order.key, error.code, error.message)
    else:
        await _wait(ledger, order, default_pause(order.poll_count), is_too_late=is_too_late)


async def _store(services: Services, order: OrderRow, success: Succeeded) -> dict[str, Any]:
    """Store the files of the result, and return its facts with the digests of the files."""
    result: dict[str, Any] = dict(success.facts)
    charged = Decimal(result.get("charged_usd") or order.amount_usd)
    if abs(charged - order.amount_usd) >= TOLD_DIFFERENCE_USD:
        warning = (
            f"{short_name(order.provider)} charged {charged:.3f} USD;"
            f" {order.amount_usd:.3f} USD was approved, and counts in the budgets."
        )
        result["warnings"] = [*result.get("warnings", []), warning]
    if success.file is not None:
        kind, media_type = ARTIFACT_KINDS[order.kind], intake.SOUND_TYPE if order.kind == "speech" else "video/mp4"
        store = partial(services.artifacts.store, media_type=media_type)
        result["digest"] = await store(success.file, kind=kind, facts=success.facts)
        if success.original is not None and success.original != success.file:
            result["original_digest"] = await store(success.original, kind=f"{kind}_original", facts={})
        if success.subtitles:
            subtitles = success.file.with_suffix(".srt")
            subtitles.write_text(success.subtitles, encoding="utf-8")
            result["subtitles_digest"] = await services.artifacts.store(
                subtitles, kind="subtitles", media_type=SUBTITLES_TYPE, facts={}
            )
    return result
