"""A run orders its clips from the provider that its gate showed."""

from __future__ import annotations

from decimal import Decimal

from graph.nodes.clips import OFFER_CHANGED
from graph.state import IdeasState, Offer, RunState
from tests.graph.fakes import RunHarness, idea


async def test_the_gate_shows_the_provider_and_the_run_keeps_it() -> None:
    """Another preference in the settings changes nothing for a run whose offer was approved."""
    run = RunHarness()
    run.video.providers, run.video.sound = ["kling", "videos"], True
    run.video.callbacks = {"kling": "https://films.example/v1/webhooks/video/kling"}
    first = await run.start()
    run.video.providers = ["videos", "kling"]
    await run.answer({"verdict": "approve", "number": 1})
    orders = run.ledger.orders_of("clip")

    assert (first["content"]["provider"], first["content"]["sound"]) == ("kling", True)
    assert "by video-1 at kling, with sound." in first["action_requests"][0]["description"]
    assert {order.provider for order in orders} == {"kling"}
    assert {order.request["sound"] for order in orders} == {True}
    assert {order.request["callback"] for order in orders} == {"https://films.example/v1/webhooks/video/kling"}


async def test_a_provider_that_is_gone_leads_back_to_the_gate() -> None:
    """Nothing is ordered from another provider than the approved one."""
    run = RunHarness()
    run.video.providers = ["kling", "videos"]
    await run.start()
    run.video.providers = ["videos"]
    again = await run.answer({"verdict": "approve", "number": 1})

    assert run.ledger.orders_of("clip") == []
    assert (again["content"]["provider"], again["content"]["notice"]) == ("videos", OFFER_CHANGED)
    await run.answer({"verdict": "approve", "number": 2})
    assert {order.provider for order in run.ledger.orders_of("clip")} == {"videos"}


async def test_a_clip_that_lost_its_sound_leads_back_to_the_gate() -> None:
    """An offer that states less than the approved one is another offer."""
    run = RunHarness()
    run.video.sound = True
    await run.start()
    run.video.sound = None
    again = await run.answer({"verdict": "approve", "number": 1})

    assert (again["content"]["notice"], again["content"].get("sound")) == (OFFER_CHANGED, None)


async def test_an_offer_of_an_earlier_version_is_still_approved() -> None:
    """Such an offer names no provider; that is not a change, and the ledger knows where its clips are ordered."""
    offer = Offer(model="video-1", seconds=4, size="720x1280", usd_per_clip="0.40")
    ideas = IdeasState(title="Rain", ideas=[idea("Leaf")], make=[1], **offer)
    run = RunHarness(fork=RunState(ideas=ideas, clips={}, made={}))
    run.video.providers = ["videos"]
    first = await run.start()
    await run.answer({"verdict": "approve", "number": 1})

    assert "provider" not in first["content"]
    assert {order.provider for order in run.ledger.orders_of("clip")} == {""}


async def test_a_quoted_price_is_approved_once() -> None:
    """It is ordered at the approved price, whatever is quoted later; only another clip is quoted again."""
    run = RunHarness()
    run.video.providers, run.video.quoted_usd = ["higgsfield"], Decimal("0.38")
    first = await run.start()
    run.video.quoted_usd = Decimal("0.39")
    run.video.sound = True
    again = await run.answer({"verdict": "approve", "number": 1})
    run.video.quoted_usd, run.video.usd_per_second = Decimal("0.50"), Decimal("0.20")
    await run.answer({"verdict": "approve", "number": 2})

    assert "video-1 at higgsfield, quoted by higgsfield." in first["action_requests"][0]["description"]
    assert [each["content"]["usd_per_clip"] for each in (first, again)] == ["0.38", "0.39"]
    assert {order.amount_usd for order in run.ledger.orders_of("clip")} == {Decimal("0.39")}


async def test_a_quote_that_is_given_late_changes_nothing() -> None:
    """The approved price of the profile counts."""
    run = RunHarness()
    first = await run.start()
    run.video.quoted_usd = Decimal("0.38")
    await run.answer({"verdict": "approve", "number": 1})

    assert first["content"]["price_source"] == "profile"
    assert "price" not in first["action_requests"][0]["description"]
    assert {order.amount_usd for order in run.ledger.orders_of("clip")} == {Decimal("0.40")}
