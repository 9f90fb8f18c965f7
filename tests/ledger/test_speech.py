"""Speech is called once for an order, whatever happens between the call and its row."""

from __future__ import annotations

import contextlib
import io
import wave
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from providers.base import Unavailable
from providers.orders import Order, OrderKey
from providers.speech import Speech, SpeechOffer
from runs.reconcile import reconcile_order
from runs.services import Services
from tests.ledger.fake_provider import ProcessKilled, approval, kill_at, new_run, run_costs, state_of

OFFER = SpeechOffer(model="tts", voice="alloy", usd_per_1000_characters="0.015")


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((1, 2, 24_000, 24_000, "NONE", ""))
        wav.writeframes(b"\x10\x00" * 24_000)
    return file.getvalue()


class Server:
    """A speech server, with its answers and the number of its calls."""

    def __init__(self, answer: Callable[[], httpx.Response]) -> None:
        self.answer, self.calls = answer, 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        return self.answer()


def speaks() -> httpx.Response:
    return httpx.Response(200, content=sound(), headers={"content-type": "audio/wav"})


def connect(services: Services, server: Server, **changes: object) -> None:
    """Make the server the speech provider of the services."""
    services.scratch.mkdir(parents=True, exist_ok=True)
    client = httpx.AsyncClient(transport=httpx.MockTransport(server))
    store = partial(services.artifacts.store, kind="speech", media_type="application/octet-stream", facts={})
    values = {"files": services.artifacts, "store": store, "scratch": services.scratch, **changes}
    services.ledger.providers["speech"] = [Speech("http://voices/v1", "key", client, **values)]  # type: ignore[index,arg-type]


async def ordered(services: Services, *texts: str) -> tuple[str, list[str]]:
    """Reserve the orders of these texts, and return the run and their keys."""
    run = await new_run(services.db)
    decision = await approval(services.db, run)
    orders = [
        Order(OrderKey(run, "speech", number), "speech", OFFER.request_for(words), OFFER.usd_of([words]), decision)
        for number, words in enumerate(texts, start=1)
    ]
    await services.ledger.reserve(orders)
    return run, [str(order.key) for order in orders]


async def age(services: Services) -> None:
    """Let the time of all calls be long ago."""
    await services.db.execute("update orders set called_at = called_at - interval '1 hour'", ())


@pytest.mark.slow
async def test_equal_answers_of_two_orders_are_two_sounds(services: Services) -> None:
    """Their ids differ although the audio is the same, so neither is taken for a duplicate charge."""
    server = Server(speaks)
    connect(services, server)
    _run, keys = await ordered(services, "Stay.", "Stay.")
    for key in keys * 3:
        await services.ledger.place(key)
        await reconcile_order(services, key)

    rows = [await services.ledger.get(key) for key in keys]
    assert [row and row.state for row in rows] == ["settled", "settled"]
    assert len({row.result["digest"] for row in rows if row}) == 1
    assert len({row.task_id for row in rows if row}) == server.calls == 2
    assert [row and row.spent_usd and str(row.spent_usd) for row in rows] == ["0.0001", "0.0001"]
    assert await services.db.fetch_all("select from events where kind = 'charge.duplicate'", ()) == []


async def kill_in_store(_: Path) -> str:
    raise ProcessKilled


async def full_disk(_: Path) -> str:
    raise Unavailable("store_unavailable", "The store cannot be used.")


@pytest.mark.parametrize("store", [kill_in_store, full_disk], ids=["killed", "disk full"])
async def test_an_answer_that_was_not_stored_is_not_ordered_again(services: Services, store: object) -> None:
    """The order becomes unknown, and only a person's declaration fails it; the server was called once."""
    server = Server(speaks)
    connect(services, server, store=store)
    run, [key] = await ordered(services, "Stay.")
    with contextlib.suppress(ProcessKilled):
        await services.ledger.place(key)
    connect(services, server)  # another process
    for _ in range(3):
        await services.ledger.place(key)
        await reconcile_order(services, key)
    assert (await state_of(services, key), server.calls) == ("reserved", 1)
    await age(services)
    await reconcile_order(services, key)

    assert (await state_of(services, key), server.calls) == ("unknown", 1)
    assert (await run_costs(services.db, run)).reserved_usd > 0


@pytest.mark.parametrize("point", ["submit.before", "submit.after"])
async def test_a_kill_around_the_call_charges_at_most_once(services: Services, point: str) -> None:
    server = Server(speaks)
    connect(services, server)
    _, [key] = await ordered(services, "Stay.")
    with pytest.raises(ProcessKilled):
        async with kill_at(point):
            await services.ledger.place(key)
    for _ in range(3):
        await services.ledger.place(key)
        await reconcile_order(services, key)
        await age(services)

    assert (await state_of(services, key), server.calls) == ("unknown", int(point == "submit.after"))


@pytest.mark.parametrize(("status", "state", "calls"), [(400, "failed", 1), (502, "reserved", 1), (429, "reserved", 1)])
async def test_other_answers(services: Services, status: int, state: str, calls: int) -> None:
    """A refusal costs nothing; an error may have cost something, and is not repeated."""
    server = Server(lambda: httpx.Response(status, json={"error": {"message": "No such voice.", "code": "no_voice"}}))
    connect(services, server)
    _run, [key] = await ordered(services, "Stay.")
    await services.ledger.place(key)
    if status != 429:  # which is placed again later
        await services.ledger.place(key)

    assert (await state_of(services, key), server.calls) == (state, calls)


async def test_an_answer_without_audio_is_charged(services: Services) -> None:
    """It fails in words, and its price counts."""
    server = Server(lambda: httpx.Response(200, json={"message": "Hello"}))
    connect(services, server)
    _run, [key] = await ordered(services, "Stay.")
    await services.ledger.place(key)
    await reconcile_order(services, key)
    row = await services.ledger.get(key)

    assert row is not None
    assert (row.state, row.result["code"], row.result["charged"]) == ("failed", "audio_invalid", True)
    assert row.spent_usd == row.amount_usd > 0


async def test_without_a_server_nothing_is_called(services: Services) -> None:
    """An approved order is refused with the setting."""
    services.scratch.mkdir(parents=True, exist_ok=True)
    client = httpx.AsyncClient(transport=httpx.MockTransport(Server(speaks)))
    values = (services.artifacts, kill_in_store, services.scratch)
    services.ledger.providers["speech"] = [Speech(None, "key", client, *values)]  # type: ignore[index]
    _, [key] = await ordered(services, "Stay.")
    await services.ledger.place(key)
    row = await services.ledger.get(key)

    assert row is not None
    assert (row.state, row.result["code"]) == ("failed", "speech_not_configured")
