"""What a person can say at the gates beside yes and no, and what is done for a clip that failed."""

from typing import Any

import pytest

from graph.nodes.orders import StepFailed
from tests.graph.fakes import PROJECT, RunHarness, idea

APPROVE: dict[str, Any] = {"verdict": "approve", "number": 1}
REVISE: dict[str, Any] = {"verdict": "revise", "number": 2}


def ordered(line: RunHarness, kind: str = "clip") -> list[str]:
    """The ordered things as number:take, sorted."""
    return sorted(order.key.split(":", 2)[2] for order in line.ledger.of(kind))


async def clip_2_failed() -> RunHarness:
    """A line whose second clip failed and is not taken again unasked; the others are made."""
    line = RunHarness(PROJECT.model_copy(update={"takes": 1}))
    await line.begin()
    await line.answer(APPROVE)
    for key in line.ledger.open():
        (line.ledger.fail(key) if ":clip:2:" in key else line.ledger.settle(key))
    with pytest.raises(StepFailed):
        await line.answer({"over": []})
    return line


async def test_a_note_on_a_clip_is_in_its_next_prompt() -> None:
    """Each clip that is made again is told its own note; the others keep their file."""
    line = RunHarness()
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
    assert again["content"]["clips"][0] == {**first["content"]["clips"][0], "take": 2, "takes": [1, 2]}


async def test_an_earlier_take_is_used_without_ordering_a_clip() -> None:
    """Choosing a take costs a render and nothing else, and survives another clip being made again."""
    line = RunHarness()
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
    line = RunHarness()
    first = await line.at_publish_gate()
    again = await line.answer({"verdict": "revise", "edits": {"caption": "Sea."}, "number": 2})

    assert (again["gate"], again["revision"], again["content"]["caption"]) == ("publish", 2, "Sea.")
    assert again["content"]["film"] == first["content"]["film"]
    assert again["digest"] != first["digest"]
    assert (len(ordered(line)), len(ordered(line, "render"))) == (3, 1)


async def test_another_overlay_is_one_render() -> None:
    """The text over a clip is laid on again; no clip is ordered."""
    line = RunHarness()
    await line.at_publish_gate()
    await line.answer({"verdict": "revise", "edits": {"overlays": {"2": "Gutter"}}, "number": 2})
    again = await line.delivered()

    assert again["content"]["clips"][1]["overlay"] == "Gutter"
    assert (len(ordered(line)), len(ordered(line, "render"))) == (3, 2)
    assert line.ledger.of("render")[-1].request["clips"][1]["overlay"] == "Gutter"


async def test_ideas_that_were_dropped_are_not_made() -> None:
    """Two of three ideas, in another order: two clips."""
    line = RunHarness()
    question = await line.begin()
    kept = [question["content"]["ideas"][2], question["content"]["ideas"][0]]
    await line.answer({**APPROVE, "edits": kept})
    await line.delivered()

    (render,) = line.ledger.of("render")
    assert [clip["overlay"] for clip in render.request["clips"]] == ["Sea", "Leaf"]
    assert ordered(line) == ["1:1", "2:1"]


async def test_a_refused_prompt_is_written_again_once() -> None:
    """Moderation's refusal is answered with other words, as a new take; refused again, a person is asked."""
    line = RunHarness(PROJECT.model_copy(update={"takes": 1}))
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
    line.inbox.retry(prompts={"2": "A roof, seen from far."})
    (key,) = (await line.go())["orders"]
    assert line.ledger.orders[key].request["prompt"].startswith("A roof, seen from far.")
    assert (await line.delivered())["waiting_for"] == "render"


async def test_a_failed_clip_can_be_done_without() -> None:
    """The film is made of the others, which keep their numbers and are not ordered again."""
    line = await clip_2_failed()
    line.inbox.retry(drop=[2])
    await line.go()
    question = await line.delivered()

    assert [clip["clip"] for clip in question["content"]["clips"]] == [1, 3]
    assert ordered(line) == ["1:1", "2:1", "3:1"]


async def test_a_clip_that_cannot_be_made_again_stays_as_it_was() -> None:
    """Done without, the new take is: the film that was shown can still be had, and nothing is ordered for it."""
    line = RunHarness(PROJECT.model_copy(update={"takes": 1}))
    first = await line.at_publish_gate()
    (key,) = (await line.answer({**REVISE, "clips": [2]}))["orders"]
    line.ledger.fail(key, code="budget_exceeded")
    with pytest.raises(StepFailed):
        await line.answer({"over": []})
    line.inbox.retry(drop=[2])
    await line.go()
    question = await line.delivered()

    assert question["content"]["clips"] == [{**clip, "take": 1, "takes": [1]} for clip in first["content"]["clips"]]
    assert ordered(line) == ["1:1", "2:1", "2:2", "3:1"]


async def test_a_clip_that_was_charged_for_is_not_made_again_unasked() -> None:
    """What was approved is paid: another take is a person's to ask for."""
    line = RunHarness(PROJECT.model_copy(update={"takes": 5}))
    await line.begin()
    await line.answer(APPROVE)
    for key in line.ledger.open():
        line.ledger.settle(key)
    line.ledger.fail(f"{line.id}:clip:2:1", charged=True)
    with pytest.raises(StepFailed, match="It is charged for all the same"):
        await line.answer({"over": []})
    assert ordered(line) == ["1:1", "2:1", "3:1"]
    line.inbox.retry()
    await line.go()

    assert ordered(line) == ["1:1", "2:1", "2:2", "3:1"]


@pytest.mark.parametrize("what", ["price", "model"])
async def test_clips_that_cannot_be_had_as_they_were_shown_are_shown_again(what: str) -> None:
    """While the gate was open the settings changed: nothing is ordered before a person has seen what it is now."""
    line = RunHarness()
    first = await line.begin()
    if what == "price":
        line.video.usd_per_second *= 2
    else:
        line.video.model = "video-2"
    again = await line.answer(APPROVE)

    assert (again["gate"], again["revision"]) == ("ideation", 2)
    assert again["digest"] != first["digest"]
    assert again["content"]["estimated_usd"] == ("2.40" if what == "price" else "1.20")
    assert again["content"]["model"] == line.video.model
    assert line.ledger.orders == {}
    await line.answer({**APPROVE, "number": 2})
    orders = line.ledger.of("clip")
    assert {str(order.amount_usd) for order in orders} == {again["content"]["usd_per_clip"]}
    assert {order.request["model"] for order in orders} == {line.video.model}
    assert {order.approval and (order.approval.decision, order.approval.digest) for order in orders} == {
        (2, again["digest"])
    }


async def test_a_clip_to_be_made_again_for_another_price_is_shown_first() -> None:
    """With its number, its price and the reviewer's words; the others stay."""
    line = RunHarness()
    await line.at_publish_gate()
    line.video.usd_per_second *= 2
    question = await line.answer({**REVISE, "clips": [{"clip": 2, "comment": "Much darker"}]})

    assert (question["gate"], question["content"]["make"], question["content"]["estimated_usd"]) == (
        "ideation",
        [2],
        "0.80",
    )
    waiting = await line.answer({**APPROVE, "number": 5})
    (key,) = waiting["orders"]
    order = line.ledger.orders[key]
    assert (key.split(":", 2)[2], str(order.amount_usd)) == ("2:2", "0.80")
    assert "Much darker" in order.request["prompt"]
    await line.delivered()
    content = (await line.delivered())["content"]
    assert [clip["take"] for clip in content["clips"]] == [1, 2, 1]


async def test_words_are_kept_while_another_offer_is_looked_at() -> None:
    """Those of a retry, and each note with its clip."""
    line = await clip_2_failed()
    line.video.model = "video-2"
    line.inbox.retry(prompts={"2": "A heron."})
    question = await line.go()
    assert (question["gate"], question["content"]["make"]) == ("ideation", [2])
    assert "have changed since this was approved" in question["content"]["notice"]
    (key,) = (await line.answer({**APPROVE, "number": 3}))["orders"]
    assert line.ledger.orders[key].request["prompt"].startswith("A heron.")
    assert "notice" not in (await line.state())["ideas"]

    await line.delivered()
    await line.delivered()
    line.video.model = "video-3"
    notes = [{"clip": 1, "comment": "too dark"}, {"clip": 3, "comment": "slower"}]
    await line.answer({**REVISE, "clips": notes})
    orders = (await line.answer({**APPROVE, "number": 5}))["orders"]
    said = {key.split(":")[2]: line.ledger.orders[key].request["prompt"] for key in orders}
    assert {n: [note["comment"] in words for note in notes] for n, words in said.items()} == {
        "1": [True, False],
        "3": [False, True],
    }


async def test_what_was_written_down_before_a_crash_is_ordered_as_it_was() -> None:
    """The process died between its reservation and its checkpoint, and another model is named since."""
    line = RunHarness()
    await line.begin()
    state = await line.state()
    line.ledger.written_down = True
    line.video.model = "video-2"
    waiting = await line.answer(APPROVE)

    assert len(waiting["orders"]) == 3
    assert {order.request["model"] for order in line.ledger.of("clip")} == {state["ideas"]["model"]}


async def test_another_length_is_shown_where_nothing_was_made_yet() -> None:
    """The new model cannot make what was shown; the gate opens with what the project says by now."""
    line = RunHarness()
    await line.begin()
    line.video.makes, line.project = (5,), PROJECT.model_copy(update={"clip_seconds": 5})
    question = await line.answer(APPROVE)

    assert (question["gate"], question["content"]["seconds"]) == ("ideation", 5)
    await line.answer({**APPROVE, "number": 2})
    assert {order.request["seconds"] for order in line.ledger.of("clip")} == {5}


async def test_a_film_of_another_length_is_not_mixed() -> None:
    """A single clip that cannot be had as the others were is not made: a person is told why."""
    line = RunHarness()
    await line.at_publish_gate()
    line.video.makes = (5,)
    with pytest.raises(StepFailed, match="Name a model that can make such clips"):
        await line.answer({**REVISE, "clips": [2]})
    line.video.makes = (4,)
    assert (await line.go())["waiting_for"] == "clips"


async def test_what_was_approved_is_ordered_whatever_the_project_says_by_then() -> None:
    """Length and size are those that were shown, in the clips and in the film."""
    line = RunHarness()
    content = (await line.begin())["content"]
    line.project = PROJECT.model_copy(update={"clip_seconds": 8, "clip_size": "1280x720"})
    await line.answer(APPROVE)
    await line.delivered()
    requests = [order.request for order in line.ledger.of("clip")]
    (render,) = line.ledger.of("render")

    assert (content["seconds"], content["size"]) == (4, "720x1280")
    assert {(request["seconds"], request["size"]) for request in requests} == {(4, "720x1280")}
    assert {clip["seconds"] for clip in render.request["clips"]} == {4}


async def test_a_fork_orders_only_what_it_lacks() -> None:
    """A thread that begins with ideas and some of their clips shows the rest with its price, and makes just that."""
    line = RunHarness()
    have = {"shot": "other:clip:1:1", "take": 0, "digest": "a" * 64, "seconds": 4.0}
    ideas = {"title": "Rain", "ideas": [idea("Leaf"), idea("Roof")], "make": [2], "usd_per_clip": "0.40"}
    facts = {"id": line.id, "project": "trio", "brief": "Rain", "options": {}}
    seed = {"ideas": ideas, "clips": {"1": have}, "made": {"1": {"0": have["shot"]}}}
    question = await line.go({"run": facts, **seed})

    assert (question["gate"], question["content"]["estimated_usd"]) == ("ideation", "0.40")
    assert line.model.asked == []
    await line.answer(APPROVE)
    assert ordered(line) == ["2:1"]
    await line.delivered()
    (render,) = line.ledger.of("render")
    assert render.request["clips"][0]["digest"] == have["digest"]


async def test_a_fork_that_lacks_nothing_orders_no_clip() -> None:
    """It goes from the approval straight to the render."""
    line = RunHarness()
    have = {"shot": "other:clip:1:1", "take": 0, "digest": "a" * 64, "seconds": 4.0}
    ideas = {"title": "Rain", "ideas": [idea("Leaf")], "make": [], "usd_per_clip": "0.40"}
    facts = {"id": line.id, "project": "trio", "brief": "Rain", "options": {}}
    await line.go({"run": facts, "ideas": ideas, "clips": {"1": have}, "made": {"1": {"0": have["shot"]}}})
    question = await line.answer(APPROVE)

    assert question["waiting_for"] == "render"
    assert ordered(line) == []
