"""Requested changes at the gates, changed offers, forks, and the treatment of failed clips."""

from typing import Any

import pytest

from graph.nodes.orders import StepFailed
from graph.state import Clip, IdeasState, RunState
from providers.orders import OrderKey
from tests.graph.fakes import PROJECT, RunHarness, idea

APPROVE: dict[str, Any] = {"verdict": "approve", "number": 1}
REVISE: dict[str, Any] = {"verdict": "revise", "number": 2}


def takes_of(run: RunHarness, kind: str = "clip") -> list[str]:
    """Return all orders of a kind as "number:attempt", sorted."""
    return sorted(f"{order.key.number}:{order.key.attempt}" for order in run.ledger.orders_of(kind))


def prompts_of(run: RunHarness, keys: list[str]) -> dict[int, str]:
    """Return the prompts of these orders by clip number."""
    return {OrderKey.parse(key).number: run.ledger.orders[key].request["prompt"] for key in keys}


async def run_with_failed_clip_2() -> RunHarness:
    """Return a run whose second clip failed and gets no further take; the others are settled."""
    run = RunHarness(PROJECT.model_copy(update={"takes": 1}))
    await run.start()
    await run.answer(APPROVE)
    run.ledger.settle_except(2)
    with pytest.raises(StepFailed):
        await run.answer({"over": []})
    return run


async def test_a_note_on_a_clip_is_in_its_next_prompt() -> None:
    """Each clip that is generated again gets its own note; the others keep their file."""
    run = RunHarness()
    first = await run.run_to_publish_gate()
    kept = (await run.state())["clips"]
    notes = [{"clip": 1, "comment": "too dark"}, {"clip": 3, "comment": "slower"}]
    await run.answer({"verdict": "revise", "clips": notes, "number": 2})

    prompts = prompts_of(run, run.ledger.open_keys())
    assert "Different from the last take: too dark" in prompts[1]
    assert "Different from the last take: slower" in prompts[3]
    await run.settle_orders()
    again = await run.settle_orders()
    clips = (await run.state())["clips"]
    assert clips["2"] == kept["2"]
    assert clips["1"]["digest"] != kept["1"]["digest"]
    assert again["content"]["clips"][0] == {**first["content"]["clips"][0], "take": 2, "takes": [1, 2]}


async def test_an_earlier_take_is_used_without_an_order_of_a_clip() -> None:
    """A chosen take costs one render, and is kept when another clip is generated again."""
    run = RunHarness()
    await run.run_to_publish_gate()
    first = (await run.state())["clips"]["2"]
    await run.answer({"verdict": "revise", "clips": [2], "number": 2})
    await run.settle_orders()
    await run.settle_orders()
    await run.answer({"verdict": "revise", "takes": {"2": 1}, "number": 3})
    await run.settle_orders()

    assert (await run.state())["clips"]["2"] == first
    assert takes_of(run) == ["1:1", "2:1", "2:2", "3:1"]
    assert takes_of(run, "render") == ["1:1", "1:2", "1:3"]
    await run.answer({"verdict": "revise", "clips": [3], "number": 4})
    await run.settle_orders()
    assert (await run.state())["clips"]["2"] == first
    await run.settle_orders()
    await run.answer({"verdict": "revise", "clips": [2], "number": 5})
    assert takes_of(run) == ["1:1", "2:1", "2:2", "2:3", "3:1", "3:2"]


async def test_edited_texts_of_the_post_order_nothing() -> None:
    """A caption that was edited with a request for changes is presented at once, in the next revision."""
    run = RunHarness()
    first = await run.run_to_publish_gate()
    again = await run.answer({"verdict": "revise", "edits": {"caption": "Sea."}, "number": 2})

    assert (again["gate"], again["revision"], again["content"]["caption"]) == ("publish", 2, "Sea.")
    assert again["content"]["film"] == first["content"]["film"]
    assert again["digest"] != first["digest"]
    assert (len(takes_of(run)), len(takes_of(run, "render"))) == (3, 1)


async def test_another_overlay_is_one_render() -> None:
    """The text over a clip is rendered again; no clip is ordered."""
    run = RunHarness()
    await run.run_to_publish_gate()
    await run.answer({"verdict": "revise", "edits": {"overlays": {"2": "Gutter"}}, "number": 2})
    again = await run.settle_orders()

    assert again["content"]["clips"][1]["overlay"] == "Gutter"
    assert (len(takes_of(run)), len(takes_of(run, "render"))) == (3, 2)
    assert run.ledger.orders_of("render")[-1].request["clips"][1]["overlay"] == "Gutter"


async def test_omitted_ideas_are_not_ordered() -> None:
    """Two of three ideas, in another order, are two clips."""
    run = RunHarness()
    pending = await run.start()
    kept = [pending["content"]["ideas"][2], pending["content"]["ideas"][0]]
    await run.answer({**APPROVE, "edits": kept})
    await run.settle_orders()

    (render,) = run.ledger.orders_of("render")
    assert [clip["overlay"] for clip in render.request["clips"]] == ["Sea", "Leaf"]
    assert takes_of(run) == ["1:1", "2:1"]


@pytest.mark.parametrize("code", ["moderation_blocked", "safety_input_text", "rai_media_filtered"])
async def test_a_refused_prompt_is_rewritten_once(code: str) -> None:
    """A refusal by moderation leads to a new take with a rewritten prompt; a second one fails the run."""
    run = RunHarness(PROJECT.model_copy(update={"takes": 1}))
    await run.start()
    await run.answer(APPROVE)
    run.ledger.settle_except(2, code=code)
    pending = await run.answer({"over": []})

    (key,) = pending["orders"]
    assert run.ledger.orders[key].request["prompt"].startswith("A leaf in gentle rain.")
    run.ledger.fail(key, code=code)
    with pytest.raises(StepFailed) as failed:
        await run.answer({"over": []})
    assert failed.value.code == code
    assert [schema for schema, _ in run.model.requests].count("Shot") == 1
    run.records.request_retry(prompts={"2": "A roof, seen from far."})
    (key,) = (await run.resume())["orders"]
    assert run.ledger.orders[key].request["prompt"].startswith("A roof, seen from far.")
    assert (await run.settle_orders())["waiting_for"] == "render"


async def test_a_failed_clip_can_be_dropped() -> None:
    """The film consists of the others, which keep their numbers and are not ordered again."""
    run = await run_with_failed_clip_2()
    run.records.request_retry(drop=[2])
    await run.resume()
    pending = await run.settle_orders()

    assert [clip["clip"] for clip in pending["content"]["clips"]] == [1, 3]
    assert takes_of(run) == ["1:1", "2:1", "3:1"]


async def test_a_dropped_new_take_leaves_the_clip_as_it_was() -> None:
    """The film that was presented is still available, and nothing is ordered for it."""
    run = RunHarness(PROJECT.model_copy(update={"takes": 1}))
    first = await run.run_to_publish_gate()
    (key,) = (await run.answer({**REVISE, "clips": [2]}))["orders"]
    run.ledger.fail(key, code="budget_exceeded")
    with pytest.raises(StepFailed):
        await run.answer({"over": []})
    run.records.request_retry(drop=[2])
    await run.resume()
    pending = await run.settle_orders()

    assert pending["content"]["clips"] == [{**clip, "take": 1, "takes": [1]} for clip in first["content"]["clips"]]
    assert takes_of(run) == ["1:1", "2:1", "2:2", "3:1"]


async def test_a_charged_clip_gets_no_take_automatically() -> None:
    """The approved amount is spent: only a retry of a person orders another take."""
    run = RunHarness(PROJECT.model_copy(update={"takes": 5}))
    await run.start()
    await run.answer(APPROVE)
    run.ledger.settle_except(2, charged=True)
    with pytest.raises(StepFailed, match="It is charged nevertheless"):
        await run.answer({"over": []})
    assert takes_of(run) == ["1:1", "2:1", "3:1"]
    run.records.request_retry()
    await run.resume()

    assert takes_of(run) == ["1:1", "2:1", "2:2", "3:1"]


@pytest.mark.parametrize("changed", ["price", "model"])
async def test_a_changed_offer_is_presented_again(changed: str) -> None:
    """The settings changed while the gate was open: nothing is ordered before a person approved the new offer."""
    run = RunHarness()
    first = await run.start()
    if changed == "price":
        run.video.usd_per_second *= 2
    else:
        run.video.model = "video-2"
    again = await run.answer(APPROVE)

    assert (again["gate"], again["revision"]) == ("ideation", 2)
    assert again["digest"] != first["digest"]
    assert again["content"]["estimated_usd"] == ("2.40" if changed == "price" else "1.20")
    assert again["content"]["model"] == run.video.model
    assert run.ledger.orders == {}
    await run.answer({**APPROVE, "number": 2})
    orders = run.ledger.orders_of("clip")
    assert {str(order.amount_usd) for order in orders} == {again["content"]["usd_per_clip"]}
    assert {order.request["model"] for order in orders} == {run.video.model}
    assert {order.approval and (order.approval.decision, order.approval.digest) for order in orders} == {
        (2, again["digest"])
    }


async def test_a_clip_to_generate_again_at_another_price_is_presented_first() -> None:
    """It is presented with its number and price and keeps the reviewer's note; the others stay."""
    run = RunHarness()
    await run.run_to_publish_gate()
    run.video.usd_per_second *= 2
    pending = await run.answer({**REVISE, "clips": [{"clip": 2, "comment": "Much darker"}]})

    assert (pending["gate"], pending["content"]["make"], pending["content"]["estimated_usd"]) == (
        "ideation",
        [2],
        "0.80",
    )
    waiting = await run.answer({**APPROVE, "number": 5})
    (key,) = waiting["orders"]
    order = run.ledger.orders[key]
    assert (order.key.number, order.key.attempt, str(order.amount_usd)) == (2, 2, "0.80")
    assert "Much darker" in order.request["prompt"]
    await run.settle_orders()
    content = (await run.settle_orders())["content"]
    assert [clip["take"] for clip in content["clips"]] == [1, 2, 1]


async def test_prompts_are_kept_while_another_offer_is_reviewed() -> None:
    """Those of a retry are kept, and each note stays with its clip."""
    run = await run_with_failed_clip_2()
    run.video.model = "video-2"
    run.records.request_retry(prompts={"2": "A heron."})
    pending = await run.resume()
    assert (pending["gate"], pending["content"]["make"]) == ("ideation", [2])
    assert "have changed since this was approved" in pending["content"]["notice"]
    (key,) = (await run.answer({**APPROVE, "number": 3}))["orders"]
    assert run.ledger.orders[key].request["prompt"].startswith("A heron.")
    assert (await run.state())["ideas"]["notice"] is None
    assert (await run.state())["reoffered_prompts"] == {}

    await run.settle_orders()
    await run.settle_orders()
    run.video.model = "video-3"
    notes = [{"clip": 1, "comment": "too dark"}, {"clip": 3, "comment": "slower"}]
    await run.answer({**REVISE, "clips": notes})
    orders = (await run.answer({**APPROVE, "number": 5}))["orders"]
    assert {
        number: [note["comment"] in prompt for note in notes] for number, prompt in prompts_of(run, orders).items()
    } == {
        1: [True, False],
        3: [False, True],
    }


async def test_edited_ideas_replace_the_prompts_of_another_offer() -> None:
    """The prompts kept for a new offer belong to the ideas before: edited ideas get their own."""
    run = RunHarness()
    await run.start()
    run.video.model = "video-2"
    await run.answer(APPROVE)
    orders = (await run.answer({**APPROVE, "number": 2, "edits": [idea("Fog"), idea("Ice"), idea("Sun")]}))["orders"]

    assert [prompt.split(" ")[0] for _, prompt in sorted(prompts_of(run, orders).items())] == ["Fog", "Ice", "Sun"]
    assert (await run.state())["reoffered_prompts"] == {}


async def test_orders_recorded_before_a_crash_are_placed_as_recorded() -> None:
    """The process died between its reservation and its checkpoint, and the model was changed since."""
    run = RunHarness()
    await run.start()
    state = await run.state()
    run.ledger.is_everything_recorded = True
    run.video.model = "video-2"
    waiting = await run.answer(APPROVE)

    assert len(waiting["orders"]) == 3
    assert {order.request["model"] for order in run.ledger.orders_of("clip")} == {state["ideas"]["model"]}


async def test_another_length_is_presented_while_no_clip_exists() -> None:
    """The new model cannot generate what was approved; the gate opens with the length of the project now."""
    run = RunHarness()
    await run.start()
    run.video.lengths, run.project = (5,), PROJECT.model_copy(update={"clip_seconds": 5})
    pending = await run.answer(APPROVE)

    assert (pending["gate"], pending["content"]["seconds"]) == ("ideation", 5)
    await run.answer({**APPROVE, "number": 2})
    assert {order.request["seconds"] for order in run.ledger.orders_of("clip")} == {5}


async def test_clips_of_different_lengths_are_not_mixed() -> None:
    """A single clip that is no longer offered like the others is not ordered: the error states why."""
    run = RunHarness()
    await run.run_to_publish_gate()
    run.video.lengths = (5,)
    with pytest.raises(StepFailed, match="Set a model that can generate such clips"):
        await run.answer({**REVISE, "clips": [2]})
    run.video.lengths = (4,)
    assert (await run.resume())["waiting_for"] == "clips"


async def test_the_approved_offer_is_ordered_even_if_the_project_changed() -> None:
    """Length and size are those that were presented, in the clips and in the film."""
    run = RunHarness()
    content = (await run.start())["content"]
    run.project = PROJECT.model_copy(update={"clip_seconds": 8, "clip_size": "1280x720"})
    await run.answer(APPROVE)
    await run.settle_orders()
    requests = [order.request for order in run.ledger.orders_of("clip")]
    (render,) = run.ledger.orders_of("render")

    assert (content["seconds"], content["size"]) == (4, "720x1280")
    assert {(request["seconds"], request["size"]) for request in requests} == {(4, "720x1280")}
    assert {clip["seconds"] for clip in render.request["clips"]} == {4}


def fork_seed(*names: str, make: list[int]) -> RunState:
    """Return the seed of a fork with these ideas; clip 1 is already there."""
    clip = Clip(take=0, digest="a" * 64)
    ideas = IdeasState(
        title="Rain",
        ideas=[idea(name) for name in names],
        make=make,
        model="video-1",
        seconds=4,
        size="720x1280",
        usd_per_clip="0.40",
    )
    return RunState(ideas=ideas, clips={"1": clip}, made={"1": {"0": "other:clip:1:1"}})


async def test_a_fork_orders_only_missing_clips() -> None:
    """A fork starts with ideas and some of their clips: it presents the price of the others, and orders just those."""
    run = RunHarness(fork=fork_seed("Leaf", "Roof", make=[2]))
    pending = await run.start()

    assert (pending["gate"], pending["content"]["estimated_usd"]) == ("ideation", "0.40")
    assert run.model.requests == []
    await run.answer(APPROVE)
    assert takes_of(run) == ["2:1"]
    await run.settle_orders()
    (render,) = run.ledger.orders_of("render")
    assert render.request["clips"][0]["digest"] == "a" * 64


async def test_a_fork_without_missing_clips_orders_no_clip() -> None:
    """It goes from the approval straight to the render."""
    run = RunHarness(fork=fork_seed("Leaf", make=[]))
    await run.start()
    pending = await run.answer(APPROVE)

    assert pending["waiting_for"] == "render"
    assert takes_of(run) == []
