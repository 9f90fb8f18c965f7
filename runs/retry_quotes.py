"""The price and the evidence of a retry, for a person who confirms it."""

from collections.abc import Collection
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from runs import run_requests
from runs.decide import check_approval_right
from runs.errors import NotRetryable
from runs.queries import get_run
from runs.services import Services
from storage import troubles
from storage.actors import Actor


class RetryFields(BaseModel, extra="forbid"):
    """The choices of a retry: see `retry_run`."""

    prompts: dict[int, str] = {}
    drop: list[int] = []
    not_made: bool = False
    stop_waiting: bool = False

    @property
    def is_change(self) -> bool:
        """Return whether the retry changes what is ordered, or declares something about it."""
        return any((self.not_made, self.prompts, self.drop))


class RetryQuote(BaseModel):
    """A retry and what it orders again, at most: its price in USD, and the orders that are declared not made.

    `confirm` is the code of these orders as they were found, empty if there are none.
    """

    choices: RetryFields
    usd: Decimal
    orders: list[dict[str, Any]] = []
    confirm: str = ""


async def quote_retry(services: Services, run_id: UUID, choices: RetryFields, actor: Actor) -> RetryQuote:
    """Check a retry as `retry_run` does, and return what it would order again. Raises as `retry_run`."""
    check_approval_right(actor, ", which a retry requires because it may cost money.")
    run = await get_run(services.db, run_id)
    if not choices.is_change and await troubles.list_subjects(services.db, run_id):
        return RetryQuote(choices=choices, usd=Decimal(0))
    if choices.stop_waiting:
        raise NotRetryable("The run waits for nothing that is in trouble.", status=run.status)
    run_requests.check_retryable(run)
    await run_requests.retry_options(services, run, choices.prompts, choices.drop)
    unknown = await run_requests.find_unknown_orders(services, run_id, not_made=choices.not_made)
    if unknown and not choices.not_made:
        raise await run_requests.outcome_unknown(services, unknown)
    evidence = await run_requests.find_evidence(services, unknown) if unknown else {"usd": 0}
    usd = Decimal(str(evidence["usd"])) + await _failed_usd(services, run_id, choices.drop)
    return RetryQuote.model_validate({**evidence, "choices": choices, "usd": usd})


async def _failed_usd(services: Services, run_id: UUID, drop: Collection[int]) -> Decimal:
    """Return the price of the clips that failed and are not dropped, in USD."""
    failed = [order for order in await run_requests.list_failed_clips(services, run_id) if order.state == "failed"]
    return sum((order.amount_usd for order in failed if order.clip not in drop), Decimal(0))
