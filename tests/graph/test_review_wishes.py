"""What a person can say at the gates beside yes and no, and what is done for a clip that failed."""

from typing import Any

import pytest

from graph.nodes.waiting import StepFailed
from tests.graph.fakes import PROJECT, Line, idea

APPROVE: dict[str, Any] = {"verdict": "approve", "number": 1}


def ordered(line: Line, kind: str = "clip") -> list[str]:
    """The ordered things as number:take, sorted."""
    return sorted(order.key.split(":", 2)[2] for order in line.ledger.of(kind))


async def test_a_note_on_a_clip_is_in_its_next_prompt() -> None:
    """Each clip that is made again is told its own note; the others keep their file."""
    line = Line()
    first = await line.at_publish_gate()
    kept = (await line.state())["clips"]
    notes = [{"clip": 1, "comment": "too dark"}, {"clip": 3, "comment": "slower"}]
    await line.answer({"verdict": "revise", "clips": notes, "number": 2})

    said = {key.split(":")[2]: line.ledger.orders[key].request["prompt"] for key in line.ledger.open()}
    assert "Different from the last take: too dark" in said["1"]
    assert "Different from the last take: slower" in said["3"]
    await line.delivered()
    again = await line.delivered()
    clips = (await line.state())["clips"]
    assert clips["2"] == kept["2"]
    assert clips["1"]["digest"] != kept["1"]["digest"]
    assert again["shown"]["clips"][0] == {**first["shown"]["clips"][0], "take": 2, "takes": [1, 2]}


async def test_an_earlier_take_is_used_without_ordering_a_clip() -> None:
    """Choosing a take costs a render and nothing else, and survives another clip being made again."""
    line = Line()
    await line.at_publish_gate()
    first = (await line.state())["clips"]["2"]
    await line.answer({"verdict": "revise", "clips": [2], "number": 2})
    await line.delivered()
    await line.delivered()
    await line.answer({"verdict": "revise", "takes": {"2": 1}, "number": 3})
    await line.delivered()

    assert (await line.state())["clips"]["2"] == first
    assert ordered(line) == ["1:1", "2:1", "2:2", "3:1"]
    assert ordered(line, "render") == ["1:1", "1:2", "1:3"]
    await line.answer({"verdict": "revise", "clips": [3], "number": 4})
    await line.delivered()
    assert (await line.state())["clips"]["2"] == first
    await line.delivered()
    await line.answer({"verdict": "revise", "clips": [2], "number": 5})
    assert ordered(line) == ["1:1", "2:1", "2:2", "2:3", "3:1", "3:2"]


async def test_other_words_for_the_post_order_nothing() -> None:
    """A caption that was edited while asking for changes is shown at once, in the next revision."""
    line = Line()
    first = await line.at_publish_gate()
    again = await line.answer({"verdict": "revise", "edits": {"caption": "Sea."}, "number": 2})

    assert (again["gate"], again["revision"], again["shown"]["caption"]) == ("publish", 2, "Sea.")
    assert again["shown"]["film"] == first["shown"]["film"]
    assert again["digest"] != first["digest"]
    assert (len(ordered(line)), len(ordered(line, "render"))) == (3, 1)


async def test_another_overlay_is_one_render() -> None:
    """The text over a clip is laid on again; no clip is ordered."""
    line = Line()
    await line.at_publish_gate()
    await line.answer({"verdict": "revise", "edits": {"overlays": {"2": "Gutter"}}, "number": 2})
    again = await line.delivered()

    assert again["shown"]["clips"][1]["overlay"] == "Gutter"
    assert (len(ordered(line)), len(ordered(line, "render"))) == (3, 2)
    assert line.ledger.of("render")[-1].request["clips"][1]["overlay"] == "Gutter"


async def test_ideas_that_were_dropped_are_not_made() -> None:
    """Two of three ideas, in another order: two clips."""
    line = Line()
    question = await line.begin()
    kept = [question["shown"]["ideas"][2], question["shown"]["ideas"][0]]
    await line.answer({**APPROVE, "edits": kept})
    await line.delivered()

    (render,) = line.ledger.of("render")
    assert [clip["overlay"] for clip in render.request["clips"]] == ["Sea", "Leaf"]
    assert ordered(line) == ["1:1", "2:1"]


async def test_a_refused_prompt_is_written_again_once() -> None:
    """Moderation's refusal is answered with other words, as a new take; refused again, a person is asked."""
    line = Line(PROJECT.model_copy(update={"takes": 1}))
    await line.begin()
    await line.answer(APPROVE)
    for key in line.ledger.open():
        (line.ledger.fail(key, code="moderation_blocked") if ":clip:2:" in key else line.ledger.settle(key))
    question = await line.answer({"over": []})

    (key,) = question["orders"]
    assert line.ledger.orders[key].request["prompt"].startswith("A leaf in gentle rain.")
    line.ledger.fail(key, code="moderation_blocked")
    with pytest.raises(StepFailed) as failed:
        await line.answer({"over": []})
    assert failed.value.code == "moderation_blocked"
    assert [form for form, _ in line.model.asked].count("Shot") == 1
    line.inbox.asked_again, line.inbox.wanted = 1, {"prompts": {"2": "A roof, seen from far."}, "drop": []}
    (key,) = (await line.go())["orders"]
    assert line.ledger.orders[key].request["prompt"].startswith("A roof, seen from far.")
    assert (await line.delivered())["waiting_for"] == "render"


async def test_a_failed_clip_can_be_done_without() -> None:
    """The film is made of the others, which keep their numbers and are not ordered again."""
    line = Line(PROJECT.model_copy(update={"takes": 1}))
    await line.begin()
    await line.answer(APPROVE)
    for key in line.ledger.open():
        (line.ledger.fail(key) if ":clip:2:" in key else line.ledger.settle(key))
    with pytest.raises(StepFailed):
        await line.answer({"over": []})
    line.inbox.asked_again, line.inbox.wanted = 1, {"prompts": {}, "drop": [2]}
    await line.go()
    question = await line.delivered()

    assert [clip["clip"] for clip in question["shown"]["clips"]] == [1, 3]
    assert ordered(line) == ["1:1", "2:1", "3:1"]


async def test_a_fork_orders_only_what_it_lacks() -> None:
    """A thread that begins with ideas and some of their clips shows the rest with its price, and makes just that."""
    line = Line()
    have = {"shot": "other:clip:1:1", "take": 0, "digest": "a" * 64, "seconds": 4.0}
    ideas = {"title": "Rain", "ideas": [idea("Leaf"), idea("Roof")], "make": [2], "usd_per_clip": "0.40"}
    facts = {"id": line.id, "project": "trio", "brief": "Rain", "options": {}}
    seed = {"ideas": ideas, "clips": {"1": have}, "made": {"1": {"0": have["shot"]}}}
    question = await line.go({"run": facts, **seed})

    assert (question["gate"], question["shown"]["estimated_usd"]) == ("ideation", "0.40")
    assert line.model.asked == []
    await line.answer(APPROVE)
    assert ordered(line) == ["2:1"]
    await line.delivered()
    (render,) = line.ledger.of("render")
    assert render.request["clips"][0]["digest"] == have["digest"]


async def test_a_fork_that_lacks_nothing_orders_no_clip() -> None:
    """It goes from the approval straight to the render."""
    line = Line()
    have = {"shot": "other:clip:1:1", "take": 0, "digest": "a" * 64, "seconds": 4.0}
    ideas = {"title": "Rain", "ideas": [idea("Leaf")], "make": [], "usd_per_clip": "0.40"}
    facts = {"id": line.id, "project": "trio", "brief": "Rain", "options": {}}
    await line.go({"run": facts, "ideas": ideas, "clips": {"1": have}, "made": {"1": {"0": have["shot"]}}})
    question = await line.answer(APPROVE)

    assert question["waiting_for"] == "render"
    assert ordered(line) == []
