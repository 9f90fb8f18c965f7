"""Model calls are admitted under the same caps as orders, and what is not known of them is estimated."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from agents.roles import Screening
from agents.structured import AnswerError
from providers.base import ProviderError, Refused, Unavailable
from providers.orders import ModelAnswer, OrderKey
from runs.services import Services
from storage.admission import RESERVED_TOKENS, UNAPPROVED_SHARE, Caps
from storage.spending import day_costs, verify_spending
from tests.ledger.fake_provider import FakeProviders, approval, new_order, new_run, open_services, run_costs

RESERVED = sum(RESERVED_TOKENS["screening"])


def one_usd_per_screening(input_tokens: int, output_tokens: int) -> Decimal:
    """Price tokens so that what is reserved for a screening is 1 USD."""
    return Decimal(input_tokens + output_tokens) / RESERVED


async def answer(tokens: int = RESERVED, *, error: ProviderError | None = None) -> ModelAnswer[Screening]:
    """Answer a screening with this many tokens, or fail."""
    await asyncio.sleep(0)
    if error:
        raise error
    return ModelAnswer(Screening(fits=True, reason=""), tokens, 0)


@pytest.fixture
async def priced(database_url: str, tmp_path: Path) -> AsyncIterator[Services]:
    """The services with priced tokens and a day's cap of 8 USD: 2 USD for new runs and the chat."""
    caps = Caps(day_usd=Decimal(8))
    async with open_services(
        database_url, FakeProviders(), tmp_path, caps=caps, usd_of_tokens=one_usd_per_screening
    ) as services:
        yield services


async def screen(services: Services, run: str, **answered: Any) -> None:
    """Let the model screen the brief of a run."""
    await services.ledger.cached_answer(OrderKey(run, "screening"), lambda: answer(**answered))


async def test_new_runs_and_the_chat_never_use_up_the_day(priced: Services) -> None:
    """They share a quarter of the day's cap; an approved clip still has room."""
    for _ in range(2):
        await screen(priced, await new_run(priced.db))
    run = await new_run(priced.db)
    with pytest.raises(Refused, match="the share of the day's cap"):
        await screen(priced, run)
    with pytest.raises(Refused, match="the share of the day's cap"):
        async with priced.ledger.chat_call(10):
            pytest.fail("the model is never called")

    await priced.ledger.place_once(new_order(run, await approval(priced.db, run), usd="5"))
    assert (await day_costs(priced.db)).reserved_usd == 5
    await screen(priced, run)  # approved: it counts under the caps of the run and the day only


@pytest.mark.parametrize(
    ("error", "spent"),
    [
        (Unavailable("model_unavailable", "The language model did not respond."), 0),
        (AnswerError("model_answer_cut", "The model's answer was cut off before its end."), 1),
    ],
)
async def test_a_call_without_an_answer(priced: Services, error: ProviderError, spent: int) -> None:
    """An unusable answer costs its estimate, an unavailable server nothing; neither reserves anything any more."""
    run = await new_run(priced.db)
    with pytest.raises(ProviderError):
        await screen(priced, run, error=error)

    costs = await run_costs(priced.db, run)
    assert (costs.reserved_usd, costs.spent_usd) == (0, spent)
    await screen(priced, run, tokens=RESERVED // 2)
    assert (await run_costs(priced.db, run)).spent_usd == spent + Decimal("0.5")


async def test_an_answer_lost_in_a_crash_is_counted(priced: Services) -> None:
    """Nobody knows what it cost, so its estimate is spent."""
    run = await new_run(priced.db)

    async def crash() -> ModelAnswer[Screening]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await priced.ledger.cached_answer(OrderKey(run, "screening"), crash)
    assert (await run_costs(priced.db, run)).reserved_usd == 1
    await screen(priced, run, tokens=RESERVED // 2)

    assert (await run_costs(priced.db, run)).spent_usd == Decimal("1.5")
    assert await verify_spending(priced.db) == []


async def test_a_changed_sum_is_found(priced: Services) -> None:
    """The sums are compared with their orders."""
    run = await new_run(priced.db)
    await screen(priced, run)
    await priced.db.execute("update spending set spent_usd = 0 where scope = 'run'")

    assert await verify_spending(priced.db) == [f"The sum of run {run} is 0.0000 USD; its orders are 1.0000 USD."]

    await priced.db.execute("update spending set spent_usd = 1 where scope = 'run'")
    await priced.db.execute("update day_sums set spent_usd = 0.5")
    [difference] = await verify_spending(priced.db)
    assert difference.startswith("The sum of costs ")
    assert difference.endswith("is 0.5000 USD; its orders are 1.0000 USD.")


# A start, a message of the chat, or a clip of an approved run; its run; its amount; whether it settles.
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["start", "chat", "clip"]), st.integers(0, 2), st.integers(1, 4), st.booleans()),
    min_size=4,
    max_size=16,
)


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(actions=ACTIONS, day_cap=st.integers(2, 20))
@pytest.mark.slow
def test_the_day_never_exceeds_its_cap(database_url: str, tmp_path: Path, actions: Any, day_cap: int) -> None:
    """Starts, chats, approved clips and settlements of two processes in any order keep every sum below its cap."""
    caps = Caps(day_usd=Decimal(day_cap), project_day_usd={"trio": Decimal(day_cap)})
    options: Any = {"caps": caps, "usd_of_tokens": one_usd_per_screening}

    async def act_all() -> None:
        async with (
            open_services(database_url, FakeProviders(), tmp_path, **options) as one,
            open_services(database_url, FakeProviders(), tmp_path, **options) as other,
        ):
            await one.db.execute("delete from orders")
            approved_runs = [await new_run(one.db) for _ in range(3)]
            approvals = [await approval(one.db, run) for run in approved_runs]
            new_runs = [await new_run(one.db) for _ in actions]
            totals: list[Decimal] = []

            async def act(number: int, kind: str, which: int, amount: int, *, settles: bool) -> None:
                services = (one, other)[number % 2]
                try:
                    if kind == "start":
                        await screen(services, new_runs[number], tokens=RESERVED // amount)
                    elif kind == "chat":
                        async with services.ledger.chat_call(0) as record:
                            await asyncio.sleep(0)
                            await record(RESERVED_TOKENS["chat"][0] // amount, 0)
                    else:
                        order = new_order(approved_runs[which], approvals[which], number=number + 1, usd=str(amount))
                        await services.ledger.place_once(order)
                        if settles:
                            await services.ledger.settle(str(order.key), {})
                except Refused:
                    pass
                costs = await day_costs(services.db)
                totals.append(costs.reserved_usd + costs.spent_usd)

            await asyncio.gather(
                *(act(n, kind, which, usd, settles=settles) for n, (kind, which, usd, settles) in enumerate(actions))
            )
            assert max(totals) <= day_cap
            share = await one.db.fetch_one(
                "select reserved_usd + spent_usd as usd from spending where scope = 'unapproved'"
            )
            assert share is None or share["usd"] <= day_cap * UNAPPROVED_SHARE
            assert await verify_spending(one.db) == []

    asyncio.run(act_all())
