"""The rules: what the model answers, by the name of the form that is asked for."""

import json
import re
from typing import Any

import pytest

from sandbox.completions import Call
from sandbox.rules import answer
from sandbox.schemas import filled
from sandbox.talk import reply
from sandbox.words import phrase

SIGNS = ["Aries", "Taurus", "Gemini", "Cancer", "Leo", "Virgo", "Libra", "Scorpio", "Sagittarius"]
SIGNS += ["Capricorn", "Aquarius", "Pisces"]


def ideas(brief: str, more: str = "", count: int = 3) -> Any:
    schema = {"properties": {"ideas": {"minItems": count}}}
    return answer("Ideas", schema, f"<brief>\n{brief}\n</brief>\n{more}")


@pytest.mark.parametrize(
    ("brief", "fits"),
    [
        ("Rain on a quiet city", True),
        ("Tea", True),
        ("雨の夜", True),
        ("", False),
        ("  ?! ", False),
        ("asdfgh qwrtz", False),
        ("A fine brief #unfit", False),
    ],
)
def test_screening_lets_everything_pass_that_can_be_shown(brief: str, fits: bool) -> None:
    """Short and vague is welcome; empty and nonsense is not."""
    found = answer("Screening", {}, f"<brief>\n{brief}\n</brief>")

    assert found["fits"] is fits
    assert found["reason"].endswith(".")


@pytest.mark.parametrize("count", [1, 3, 12, 24])
def test_ideas_are_as_many_as_asked_for_and_all_different(count: int) -> None:
    """And each is within the lengths that are allowed, and about the brief."""
    found = ideas("Make a calm video about a lighthouse keeper and her ocean", count=count)["ideas"]

    assert len(found) == count
    assert len({idea["scene"] for idea in found}) == len({idea["title"] for idea in found}) == count
    assert all("lighthouse keeper" in idea["scene"] for idea in found)
    assert all(len(idea["overlay"]) <= 40 and len(idea["scene"]) <= 600 for idea in found)


def test_ideas_follow_their_subjects_in_the_form_of_the_overlay() -> None:
    """One for each, in order, no material twice among the first twelve."""
    lists = "<subjects>\n" + "\n".join(SIGNS) + "\n</subjects>\n<overlay_form>\nSign — Object\n</overlay_form>"
    found = ideas("A pastel mood", lists, count=12)["ideas"]

    assert [idea["overlay"].split(" — ")[0] for idea in found] == SIGNS
    assert found[0]["overlay"].endswith("Ram Horn")
    assert len({idea["overlay"].split(" — ")[1].split()[0] for idea in found}) >= 11
    assert all("pastel mood" in idea["scene"] for idea in found)


def test_a_comment_changes_the_ideas_in_its_direction() -> None:
    """Other things, and the words of the comment in every scene; the same request gives the same answer."""
    before = ideas("Rain on a quiet city")
    comment = "<comment>\nMore foxes please, and no umbrellas\n</comment>"
    after = ideas("Rain on a quiet city", comment)

    assert all("foxes" in idea["scene"] and "no umbrellas" in idea["scene"] for idea in after["ideas"])
    assert not {idea["title"] for idea in before["ideas"]} & {idea["title"] for idea in after["ideas"]}
    assert after == ideas("Rain on a quiet city", comment)


def test_a_comment_on_one_idea_changes_that_one_alone() -> None:
    """What the reviewer did not mention is kept."""
    before = ideas("Rain on a quiet city")["ideas"]
    after = ideas("Rain on a quiet city", "<comment>\nIdea 2 should have a fox\n</comment>")["ideas"]

    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]


def test_trouble_words_of_a_brief_reach_the_first_scene_only() -> None:
    """So that a brief can make one clip fail."""
    found = ideas("Rain #moderation_blocked")["ideas"]

    assert ["#moderation_blocked" in idea["scene"] for idea in found] == [True, False, False]


@pytest.mark.parametrize(
    ("comment", "step", "clips"),
    [
        ("Clip 3 is too dark", "clips", [3]),
        ("Please redo clips 2 and 4", "clips", [2, 4]),
        ("clips 1, 2, and 3 again", "clips", [1, 2, 3]),
        ("The second clip shakes", "clips", [2]),
        ("Make clip two brighter", "clips", [2]),
        ("The last clip, please", "clips", [4]),
        ("Clip 9 is bad", "ideas", []),
        ("Better hashtags", "caption", []),
        ("The music should be louder", "render", []),
        ("Softer transitions", "render", []),
        ("I would rather see dogs", "ideas", []),
    ],
)
def test_a_comment_is_sent_to_the_step_it_concerns(comment: str, step: str, clips: list[int]) -> None:
    """With the numbers of the clips the film has, and one sentence of instruction."""
    found = answer("Route", {}, f"The film has 4 clips:\n1. A\n<comment>\n{comment}\n</comment>")

    assert (found["step"], found["clips"]) == (step, clips)
    assert comment in found["instruction"]


def test_a_caption_is_about_the_brief_and_says_it_is_made_with_ai() -> None:
    """At most 150 characters, three to six lower-case hashtags, and another wording when one is asked for."""
    brief = "<brief>\nRain on a quiet city at night\n</brief>"
    first = answer("Caption", {}, brief)
    changed = f"{brief}\nThe last one was “{first['caption']}”.\n<comment>\nAnother one, with #cosy\n</comment>"
    second = answer("Caption", {}, changed)

    assert "quiet city" in first["caption"]
    assert "AI" in first["caption"]
    assert len(first["caption"]) <= 150
    assert 3 <= len(first["hashtags"]) <= 6
    assert all(re.fullmatch(r"#[^\W_]+", tag) and tag == tag.lower() for tag in first["hashtags"])
    assert "#ai" in first["hashtags"]
    assert second["caption"] != first["caption"]
    assert "#cosy" in second["hashtags"]


def test_a_refused_prompt_is_written_again_without_what_offended() -> None:
    """The rest stays, the slate at the end to the letter."""
    prompt = "A street #moderation_blocked with gore.\n\nSound: rain.\n\n(Slate ab12, never shown.)"
    found = answer("Shot", {}, f"<prompt>\n{prompt}\n</prompt>")["prompt"]

    assert "#moderation_blocked" not in found
    assert "gore" not in found
    assert "Sound: rain." in found
    assert found.endswith("\n\n(Slate ab12, never shown.)")


@pytest.mark.parametrize(
    ("brief", "expected"),
    [
        ("Please make a calming 12-second video about a cat that surfs. Golden light.", "a cat that surfs"),
        ("Rain on a quiet city at night", "rain on a quiet city at night"),
        ("Show me Tokyo in spring", "tokyo in spring"),
        ("New York at dawn", "New York at dawn"),
        ("#fail", "something quiet"),
    ],
)
def test_the_phrase_of_a_brief_is_what_it_is_about(brief: str, expected: str) -> None:
    """Without the asking."""
    assert phrase(brief) == expected


def test_a_schema_that_contains_itself_is_filled_to_an_end() -> None:
    """References, options, constants, formats and bounds."""
    node = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            "kind": {"const": "node"},
            "weight": {"type": "number", "exclusiveMinimum": 2, "maximum": 3},
            "steps": {"type": "integer", "minimum": 7, "multipleOf": 5},
            "code": {"type": "string", "minLength": 9, "maxLength": 12},
        },
        "required": ["id", "next"],
    }
    found = filled({"$defs": {"node": node}, "$ref": "#/$defs/node"})

    assert (found["kind"], found["steps"]) == ("node", 10)
    assert 2 < found["weight"] <= 3
    assert 9 <= len(found["code"]) <= 12
    assert json.dumps(found).count('"id"') < 10


@pytest.mark.parametrize(
    ("said", "name", "arguments"),
    [
        ("Make a video about bees", "start_run", {"project": "shorts", "brief": "Bees"}),
        ("create a short about rain in project aismr", "start_run", {"project": "aismr", "brief": "Rain"}),
        ("I want a film about bees", "start_run", {"project": "shorts", "brief": "I want a film about bees"}),
        ("Where is my video?", "list_runs", {}),
        ("List projects", "list_projects", {}),
    ],
)
def test_what_is_said_chooses_the_tool(said: str, name: str, arguments: dict[str, str]) -> None:
    """With the project that is named, and the brief without the asking."""
    text = {"type": "string"}
    both = {"properties": {"project": text, "brief": text}, "required": ["project", "brief"]}
    tools = [
        {"name": "start_run", "parameters": {"type": "object", **both}},
        {"name": "list_runs", "parameters": {"type": "object", "properties": {}}},
        {"name": "list_projects"},
    ]
    (call,) = reply([{"role": "user", "content": said}], tools, None).calls

    assert isinstance(call, Call)
    assert (call.name, json.loads(call.arguments)) == (name, arguments)
