"""Orders of unknown outcome: the evidence for a person, and the declaration that they were not made."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from providers.base import Unavailable
from providers.orders import digest_of
from providers.publications.outcome import publication_outcome
from runs.artifacts import describe_unknown_order
from runs.errors import OutcomeUnknown
from runs.reconcile import check_order, is_overdue
from runs.services import Services
from storage.actors import RequestContext
from storage.orders import OrderRow


async def settle_unknown_orders(
    services: Services, run_id: UUID, context: RequestContext, *, not_made: bool, confirm: str | None
) -> None:
    """Look up the orders of unknown outcome again, and fail those that the caller declares not made.

    Raises OutcomeUnknown with the evidence, the price of ordering again and its code, unless the declaration has that
    code; and Unavailable when the provider of an order cannot be queried.
    """
    orders = await _unknown_orders(services, run_id, not_made=not_made)
    if not orders:
        return
    evidence = await _evidence(services, orders)
    if not not_made or confirm != evidence["confirm"]:
        raise OutcomeUnknown(
            "The outcome of an order is unknown. Check with the provider; if it was not made, retry with `not_made` and"
            f" `confirm` {evidence['confirm']}, which orders it again for {evidence['usd']:.2f} USD.",
            **evidence,
        )
    await services.ledger.declare_not_made(run_id, [order.key for order in orders], context)


async def _unknown_orders(services: Services, run_id: UUID, *, not_made: bool) -> list[OrderRow]:
    """Look up the orders of unknown outcome, and return those still unknown that the retry needs to know about."""
    looked_up = await _look_up(services, run_id, not_made=not_made)
    orders = await services.ledger.list_for_run(run_id)
    # Only orders that were unknown when the request arrived: the caller's assurance does not cover later ones.
    unknown = [order for order in orders if order.state == "unknown" and order.key in looked_up]
    if not not_made and publication_outcome(order for order in orders if order.kind == "publication").failed:
        # Platforms that failed by their own word are posted to again; the others are left alone.
        return [order for order in unknown if order.kind != "publication"]
    return unknown


async def _look_up(services: Services, run_id: UUID, *, not_made: bool) -> set[str]:
    """Look up the orders of unknown outcome, and return their keys.

    Raises Unavailable when the provider of an order that is declared not made cannot be queried.
    """
    orders = [order for order in await services.ledger.list_for_run(run_id) if order.state == "unknown"]
    for order in orders:
        if not await check_order(services, order) and not_made and not is_overdue(order):
            message = "Provider unavailable; the order cannot be looked up. Retry later."
            raise Unavailable("provider_unavailable", message)
    return {order.key for order in orders}


async def _evidence(services: Services, orders: Sequence[OrderRow]) -> dict[str, Any]:
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
    provider = services.ledger.providers[order.kind]
    if order.task_id or order.called_at is None or order.provider != provider.name:
        return []
    try:
        found = await provider.candidates(order.request, since=order.called_at)
    except Unavailable:
        return None
    unbound = set(await services.ledger.unbound(provider.name, [each.task_id for each in found]))
    return [
        {"task_id": each.task_id, "status": each.status, "created_at": each.created_at.isoformat(), "url": each.url}
        for each in found
        if each.task_id in unbound
    ]
