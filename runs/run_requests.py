"""Requests to cancel a run, or to retry one that failed: with evidence about orders of unknown outcome."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from agents.texts import clean_text
from graph.status import TERMINAL_STATUSES
from prompts.film_limits import MIN_FILM_SECONDS
from providers.base import Unavailable
from providers.orders import RetryOptions, digest_of
from providers.publications.outcome import publication_outcome
from runs.artifacts import describe_unknown_order
from runs.decide import check_approval_right
from runs.errors import ApprovalNotPermitted, InvalidRequest, NotRetryable, OutcomeUnknown, RunEnded
from runs.queries import get_kept_run, get_run
from runs.reconcile import check_order, is_overdue
from runs.services import Services
from runs.start import resolve_project
from storage import run_requests, troubles
from storage.actors import Actor, RequestContext
from storage.database import Database
from storage.orders import OrderRow
from storage.runs import RunRow

MAX_PROMPT_CHARACTERS = 4_000


async def cancel_run(services: Services, run_id: UUID, context: RequestContext) -> None:
    """End a run. Orders that were placed are not revoked; no more are placed. Raises as `get_cancellable_run`."""
    await get_cancellable_run(services.db, run_id, context.actor)
    await run_requests.cancel_run(services.db, run_id, context)
    services.wakeups.advance(str(run_id))


async def get_cancellable_run(db: Database, run_id: UUID, actor: Actor) -> RunRow:
    """Return a run that the actor can cancel.

    Raises RunNotFound, RunEnded, and ApprovalNotPermitted for the run of another actor without approval permission.
    """
    run = await get_run(db, run_id)
    if run.actor_id != actor.id and not actor.can_approve:
        raise ApprovalNotPermitted("API key lacks approval permission; it can cancel only the runs that it started.")
    if run.status in TERMINAL_STATUSES:
        raise RunEnded(f"The run has ended: its status is {run.status}.", status=run.status)
    return run


async def retry_run(
    services: Services,
    run_id: UUID,
    *,
    not_made: bool = False,
    confirm: str | None = None,
    prompts: Mapping[int, str] | None = None,
    drop: Sequence[int] = (),
    stop_waiting: bool = False,
    context: RequestContext,
) -> None:
    """Resume a failed run from its last checkpoint, or try again now what a run in trouble waits for.

    Orders that were paid are not paid again. A clip that was charged and could not be downloaded is fetched first;
    another take is ordered only without it. `not_made` is the caller's assurance that orders of unknown outcome were
    not made: they are looked up again, and those that are not found are ordered again, if `confirm` is the code of the
    OutcomeUnknown that showed them and their price. Without `not_made` a film is posted only to the platforms that
    failed by their own word. `prompts` are new prompts for failed clips by clip number, `drop` the numbers of failed
    clips to leave out; an earlier take of such a clip, if there is one, stays in the film. `stop_waiting` gives up the
    orders that a run in trouble waits for; it then fails, and can be retried.

    Raises ApprovalNotPermitted, RunNotFound, RunPruned, NotRetryable, OutcomeUnknown, InvalidRequest, and Unavailable
    when the provider of an order of unknown outcome cannot be polled.
    """
    check_approval_right(context.actor, ", which a retry requires because it may cost money.")
    run = await get_kept_run(services.db, run_id)
    if not any((not_made, prompts, drop)) and await _retry_waiting(services, run, context, stop_waiting=stop_waiting):
        return
    check_retryable(run)
    options = await retry_options(services, run, prompts or {}, drop)
    await _fetch_finished_clips(services, run_id, drop)
    await _settle_unknown_orders(services, run_id, context, not_made=not_made, confirm=confirm)
    await run_requests.retry_run(services.db, run_id, context, options)
    services.wakeups.advance(str(run_id))


def check_retryable(run: RunRow) -> None:
    """Raise NotRetryable unless the run failed and can be retried."""
    error = run.error or {}
    if run.status != "failed" or not error.get("retryable"):
        reason = f"it ended with {error['code']}" if error else f"its status is {run.status}"
        raise NotRetryable(f"The run cannot be retried: {reason}.", status=run.status)


async def _retry_waiting(services: Services, run: RunRow, context: RequestContext, *, stop_waiting: bool) -> bool:
    """Try again now what a run in trouble waits for, or stop waiting; False without a trouble. Raises NotRetryable."""
    subjects = await troubles.list_subjects(services.db, run.id)
    if not subjects:
        if stop_waiting:
            raise NotRetryable("The run waits for nothing that is in trouble.", status=run.status)
        return False
    await run_requests.try_again(services.db, run.id, subjects, context)
    for order in [order for key in subjects if (order := await services.ledger.get(key))]:
        if stop_waiting:
            await services.ledger.stop_waiting(order.key)
        else:
            services.wakeups.reconcile(order.key)
    services.wakeups.advance(str(run.id))
    return True


async def retry_options(
    services: Services, run: RunRow, prompts: Mapping[int, str], drop: Sequence[int]
) -> RetryOptions:
    """Return the changes to failed clips. Raises InvalidRequest."""
    newest = await _newest_takes(services, run.id)
    failed = {number for number, order in newest.items() if order.state in ("failed", "unknown")}
    if unknown := sorted({*prompts, *drop} - failed):
        raise InvalidRequest(f"Clip {unknown[0]} did not fail.", field="drop" if unknown[0] in drop else "prompts")
    await _check_film_length(services, run, set(newest), set(drop))
    cleaned = {str(number): clean_text(text) for number, text in prompts.items()}
    if not all(1 <= len(text) <= MAX_PROMPT_CHARACTERS for text in cleaned.values()):
        raise InvalidRequest(f"A prompt must have 1 to {MAX_PROMPT_CHARACTERS:,} characters.", field="prompts")
    return RetryOptions(prompts=cleaned, drop=sorted(set(drop)))


async def list_failed_clips(services: Services, run_id: UUID) -> list[OrderRow]:
    """Return the orders of the newest takes of clips that failed or have an unknown outcome, by clip."""
    newest = sorted((await _newest_takes(services, run_id)).items())
    return [order for _, order in newest if order.state in ("failed", "unknown")]


async def _newest_takes(services: Services, run_id: UUID) -> dict[int, OrderRow]:
    """Return the order of the newest take of each clip, which replaces the older ones before it in the list."""
    return {order.clip: order for order in await services.ledger.list_for_run(run_id) if order.clip is not None}


async def _fetch_finished_clips(services: Services, run_id: UUID, drop: Sequence[int]) -> None:
    """Poll the failed clips that are charged: what was generated is fetched before another take is ordered."""
    for number, order in (await _newest_takes(services, run_id)).items():
        is_charged = order.state == "failed" and order.result.get("charged")
        if is_charged and number not in drop and not await check_order(services, order) and not is_overdue(order):
            message = "Provider unavailable; the clip that was charged cannot be fetched. Retry later."
            raise Unavailable("provider_unavailable", message)


async def _check_film_length(services: Services, run: RunRow, clips: set[int], drop: set[int]) -> None:
    project = resolve_project(services, run.project, run.options)
    if not drop:
        return
    # The clips that the film has, each in some take.
    graph = services.run_graph.copy({"checkpointer": services.new_saver()})
    thread = await graph.aget_state({"configurable": {"thread_id": str(run.id)}})
    in_film = {int(number) for number in thread.values.get("clips", {})}
    if project.film_seconds_of(len(clips) - len(drop - in_film)) < MIN_FILM_SECONDS:
        raise InvalidRequest(f"Without these clips the film would be shorter than {MIN_FILM_SECONDS} s.", field="drop")


async def _settle_unknown_orders(
    services: Services, run_id: UUID, context: RequestContext, *, not_made: bool, confirm: str | None
) -> None:
    """Look up the orders of unknown outcome again, and fail those that the caller declares not made.

    Raises OutcomeUnknown with the evidence, the price of ordering again and its code, unless the declaration has that
    code; and Unavailable when the provider of an order cannot be queried.
    """
    orders = await find_unknown_orders(services, run_id, not_made=not_made)
    if not orders:
        return
    if not not_made or confirm != (await find_evidence(services, orders))["confirm"]:
        raise await outcome_unknown(services, orders)
    await services.ledger.declare_not_made(run_id, [order.key for order in orders], context)


async def outcome_unknown(services: Services, orders: Sequence[OrderRow]) -> OutcomeUnknown:
    """Return the error that shows the evidence about these orders."""
    evidence = await find_evidence(services, orders)
    return OutcomeUnknown(
        "The outcome of an order is unknown. Check with the provider; if it was not made, retry with `not_made` and"
        f" `confirm` {evidence['confirm']}, which orders it again for {evidence['usd']:.2f} USD.",
        **evidence,
    )


async def find_unknown_orders(services: Services, run_id: UUID, *, not_made: bool) -> list[OrderRow]:
    """Look up the orders of unknown outcome, and return those still unknown that the retry needs to know about.

    Raises Unavailable when the provider of an order that is declared not made cannot be queried.
    """
    looked_up = [order for order in await services.ledger.list_for_run(run_id) if order.state == "unknown"]
    for order in looked_up:
        if not await check_order(services, order) and not_made and not is_overdue(order):
            message = "Provider unavailable; the order cannot be looked up. Retry later."
            raise Unavailable("provider_unavailable", message)
    orders = await services.ledger.list_for_run(run_id)
    # Only orders that were unknown when the request arrived: the caller's assurance does not cover later ones.
    keys = {order.key for order in looked_up}
    unknown = [order for order in orders if order.state == "unknown" and order.key in keys]
    if not not_made and publication_outcome(order for order in orders if order.kind == "publication").failed:
        # Platforms that failed by their own word are posted to again; the others are left alone.
        return [order for order in unknown if order.kind != "publication"]
    return unknown


async def find_evidence(services: Services, orders: Sequence[OrderRow]) -> dict[str, Any]:
    """Return the orders with their candidates, the price of ordering them again, and the code that confirms it.

    The code changes with the evidence: a declaration covers what its sender was shown.
    """
    described = [
        {**describe_unknown_order(services.ledger, order), "candidates": await _candidates(services, order)}
        for order in orders
    ]
    seen = [[row["order"], row["usd"], [found["task_id"] for found in row["candidates"] or []]] for row in described]
    usd = float(sum(order.amount_usd for order in orders))
    return {"orders": described, "usd": usd, "confirm": digest_of(seen)[:12]}


async def _candidates(services: Services, order: OrderRow) -> list[dict[str, Any]] | None:
    """Return the provider's orders that may be this one and belong to no other; None if they cannot be listed."""
    provider = services.ledger.provider_of(order)
    if order.task_id or order.called_at is None or order.provider != provider.name:
        return []
    try:
        found = await provider.candidates(order.request, since=order.placed_since)
    except Unavailable:
        return None
    unbound = set(await services.ledger.unbound(provider.name, [each.task_id for each in found]))
    return [
        {"task_id": each.task_id, "status": each.status, "created_at": each.created_at.isoformat(), "url": each.url}
        for each in found
        if each.task_id in unbound
    ]
