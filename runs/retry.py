"""Cancel a run, or try a failed one again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from agents.structured import clean_text
from providers.base import Unavailable
from providers.orders import RetryOptions
from runs.artifacts import lookup_url
from runs.decide import MIN_FILM_SECONDS
from runs.errors import ApprovalNotPermitted, InvalidRequest, NotRetryable, OutcomeUnknown
from runs.queries import get_run
from runs.reconcile import check_order, is_overdue
from runs.services import Services
from runs.start import resolve_project
from storage import api_keys
from storage import runs as table
from storage.orders import OrderRow
from storage.runs import RunRow

PROMPT_LIMIT = 4_000


async def retry_run(
    services: Services,
    run_id: UUID,
    *,
    not_made: bool = False,
    prompts: Mapping[int, str] | None = None,
    drop: Sequence[int] = (),
    by: str,
    channel: str,
    external_id: str,
) -> None:
    """Let a failed run go on from its last checkpoint. Nothing that was paid is paid again.

    `not_made` is a person's word that orders of unknown outcome were not made: they are looked for once more, and
    those that are not found are ordered again. `prompts` are other words for clips that failed, by number; `drop`
    are the numbers of failed clips to do without: an earlier take stays in the film, if there is one. Raises
    MayNotDecide, RunNotFound, NotRetryable, OutcomeUnknown, Invalid, and Unavailable when it cannot be looked for.
    """
    if not await api_keys.can_approve(services.db, by):
        raise ApprovalNotPermitted(
            "This key may not let a run go on, which may cost money: somebody whose key may has to."
        )
    run = await get_run(services, run_id)
    error = run["error"] or {}
    if run["status"] != "failed" or not error.get("retryable"):
        said = f"it ended with {error['code']}" if error else f"it is {run['status']}"
        raise NotRetryable(f"This run cannot be tried again: {said}.", status=run["status"])
    wishes = await _wishes(services, run, prompts or {}, drop)
    await _settle_unknown(services, run_id, not_made=not_made, by=by, channel=channel)
    await table.retry_run(services.db, run_id, source=channel, by=by, external_id=external_id, wishes=wishes)
    services.wakeups.advance(str(run_id))


async def _wishes(services: Services, run: RunRow, prompts: Mapping[int, str], drop: Sequence[int]) -> RetryOptions:
    """What the person wants of failed clips. Raises Invalid for a clip that did not fail."""
    newest: dict[int, OrderRow] = {}
    orders = [order for order in await services.ledger.list_for_run(run["id"]) if order["kind"] == "clip"]
    for order in orders:
        _, _, number, take = order["key"].split(":")
        if int(number) not in newest or int(take) > int(newest[int(number)]["key"].rsplit(":", 1)[1]):
            newest[int(number)] = order
    failed = {number for number, order in newest.items() if order["state"] in ("failed", "unknown")}
    if strange := sorted({*prompts, *drop} - failed):
        raise InvalidRequest(f"Clip {strange[0]} did not fail.", field="drop" if strange[0] in drop else "prompts")
    left = len(newest) - len(set(drop) - await _in_film(services, run)) if drop else len(newest)
    project = resolve_project(services, run["project"], run["options"])
    if drop and left * project.clip_seconds - max(0, left - 1) * project.crossfade_seconds < MIN_FILM_SECONDS:
        raise InvalidRequest(f"Without these clips the film would be shorter than {MIN_FILM_SECONDS} s.", field="drop")
    words = {str(number): clean_text(text) for number, text in prompts.items()}
    if not all(1 <= len(text) <= PROMPT_LIMIT for text in words.values()):
        raise InvalidRequest(f"A prompt must have 1 to {PROMPT_LIMIT:,} characters.", field="prompts")
    return RetryOptions(prompts=words, drop=sorted(set(drop)))


async def _in_film(services: Services, run: RunRow) -> set[int]:
    """The numbers of the clips that are made for the film as it stands, each in some take."""
    graph = services.run_graph.compile(checkpointer=services.new_saver(), name="line")
    thread = await graph.aget_state({"configurable": {"thread_id": str(run["id"])}})
    return {int(number) for number in thread.values.get("clips", {})}


async def _settle_unknown(services: Services, run_id: UUID, *, not_made: bool, by: str, channel: str) -> None:
    """Look for the orders of unknown outcome once more, and close those that the person says were not made."""
    unknown = [order for order in await services.ledger.list_for_run(run_id) if order["state"] == "unknown"]
    asked = {order["key"]: await check_order(services, order) for order in unknown}
    # Only those that were there when the person asked: of any later one they know nothing.
    lost = [o for o in await services.ledger.list_for_run(run_id) if o["state"] == "unknown" and o["key"] in asked]
    if lost and not not_made:
        raise OutcomeUnknown(
            "It is not known whether what was ordered was made. Look at the provider; if it was not, "
            "try again with not_made, and it is ordered again.",
            orders=[lookup_url(services, order) for order in lost],
        )
    if any(not asked[order["key"]] and not is_overdue(order) for order in lost):
        raise Unavailable("provider_unavailable", "The provider cannot be asked now what was made: try again later.")
    if lost:
        await services.ledger.declare_not_made(run_id, [o["key"] for o in lost], by=by, channel=channel)
