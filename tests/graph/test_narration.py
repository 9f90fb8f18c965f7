"""Narrations are planned with the clips, approved with their price, and awaited before the render."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from graph.graph import build_run_graph
from graph.nodes.orders import StepFailed
from providers.speech import SpeechOffer
from tests.graph.fakes import ANSWERS, PROJECT, RunHarness

OFFER = SpeechOffer(model="tts", usd_per_1000_characters=Decimal(15))


def voiced(*narrations: str, **queued: Any) -> RunHarness:
    """A run of a project with a voice, whose ideas have these narrations."""
    ideas = [{**idea, "narration": words} for idea, words in zip(ANSWERS["Ideas"]["ideas"], narrations, strict=True)]
    answers = {"Ideas": [{"title": "Rain", "ideas": ideas}], **queued}
    run = RunHarness(PROJECT.model_copy(update={"voice": "alloy", "budget_usd": Decimal(50)}), **answers)
    use_offer(run, OFFER)
    return run


def use_offer(run: RunHarness, offer: SpeechOffer | None) -> None:
    run.deps = replace(run.deps, speech=offer)
    run.graph = build_run_graph(run.deps).compile(checkpointer=run.saver)


def narrations(run: RunHarness) -> list[tuple[str, str]]:
    """The texts of all orders of speech, each with its price."""
    return [(order.request["input"], str(order.amount_usd)) for order in run.ledger.orders_of("speech")]


async def test_each_text_is_ordered_once_and_is_in_the_manifest() -> None:
    run = voiced("One.", "", "One.")
    content = (await run.start())["content"]

    assert content["speech"] == {"model": "tts", "voice": "alloy", "usd_per_1000_characters": "15"}
    assert Decimal(content["estimated_usd"]) == 3 * Decimal(content["usd_per_clip"]) + Decimal("0.06")
    await run.answer({"verdict": "approve", "number": 1})
    await run.settle_orders()
    assert narrations(run) == [("One.", "0.0600")]
    [speech] = run.ledger.orders_of("speech")
    assert {order.approval for order in run.ledger.orders_of("clip")} == {speech.approval}
    await run.settle_orders()
    [render] = run.ledger.orders_of("render")
    narrated = {"digest": run.ledger.recorded[str(speech.key)].result["digest"], "text": "One.", "model": "tts"}
    assert [clip.get("narration") for clip in render.request["clips"]] == [narrated, None, narrated]


async def test_a_sample_orders_the_words_and_the_rest_costs_no_words_again() -> None:
    """Also clips that are generated again for a comment."""
    run = voiced("One.", "Two.", "")
    await run.start()
    await run.answer({"verdict": "approve", "sample": [1], "number": 1})
    rest = (await run.settle_orders())["content"]

    assert rest["narrated"] == ["One.", "Two."]
    assert Decimal(rest["estimated_usd"]) == 2 * Decimal(rest["usd_per_clip"])
    await run.answer({"verdict": "approve", "number": 2})
    await run.settle_orders()
    await run.settle_orders()
    assert [words for words, _ in narrations(run)] == ["One.", "Two."]


async def test_edited_words_are_priced_and_approved() -> None:
    run = voiced("One.", "", "")
    content = (await run.start())["content"]
    edits = [
        {**each, "narration": words} for each, words in zip(content["ideas"], ["", "Other words.", ""], strict=True)
    ]
    await run.answer({"verdict": "approve", "edits": edits, "number": 1})

    assert narrations(run) == [("Other words.", "0.1800")]


@pytest.mark.parametrize("state", ["failed", "unknown"])
async def test_a_failed_narration_waits_for_a_person(state: str) -> None:
    """A retry orders only it again, under the same approval."""
    run = voiced("One.", "Two.", "")
    await run.start()
    await run.answer({"verdict": "approve", "number": 1})
    first, second = run.ledger.orders_of("speech")
    run.ledger.fail(str(first.key), state)
    with pytest.raises(StepFailed) as failed:
        await run.settle_orders()
    assert failed.value.code == ("speech_outcome_unknown" if state == "unknown" else "generation_failed")
    if state == "unknown":
        run.ledger.fail(str(first.key))
    run.records.request_retry()
    pending = await run.resume()

    again = f"{run.id}:speech:1:2"
    assert pending["orders"] == [again]
    assert run.ledger.known[again].approval == first.approval
    assert run.ledger.known[again].request == first.request
    await run.ledger.place(again)
    await run.settle_orders()
    assert [order.key.attempt for order in run.ledger.orders_of("clip")] == [1, 1, 1]
    assert len(run.ledger.orders_of("speech")) == 3
    assert second.key.attempt == 1


@pytest.mark.parametrize("offer", [None, OFFER.model_copy(update={"usd_per_1000_characters": Decimal(16)})])
async def test_another_offer_reopens_the_gate(offer: SpeechOffer | None) -> None:
    """Nothing is ordered; without a voice no narration is shown any more."""
    run = voiced("One.", "", "")
    await run.start()
    use_offer(run, offer)
    content = (await run.answer({"verdict": "approve", "number": 1}))["content"]

    assert run.ledger.orders == {}
    assert ("speech" in content, "One." in str(content)) == (offer is not None, offer is not None)
    await run.answer({"verdict": "approve", "number": 2})
    assert narrations(run) == ([("One.", "0.0640")] if offer else [])


async def test_a_run_without_a_voice_is_unchanged() -> None:
    """No schema, prompt, state or content mentions narrations, although a server is there."""
    run, plain = RunHarness(), RunHarness()
    use_offer(run, OFFER)
    ideas, plain_ideas = await run.start(), await plain.start()
    for each in (run, plain):
        await each.answer({"verdict": "approve", "number": 1})
        await each.settle_orders()
        await each.settle_orders()

    assert ideas == plain_ideas
    assert "narration" not in str(run.model.requests)
    assert not {"speech", "narrated"} & {*(await run.state()), *(await run.state())["ideas"]}
