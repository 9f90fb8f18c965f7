"""Rule-based answers of the language model, by schema name, and the choice of tools."""

import json
import re
from typing import Any

import pytest

from sandbox.briefs import read_brief
from sandbox.completions import Function, Message, ToolCall
from sandbox.schema_values import fill_schema
from sandbox.structured_answers import answer_schema
from sandbox.supervisor_dialogue import build_reply

SIGNS = ["Aries", "Taurus", "Gemini", "Cancer", "Leo", "Virgo", "Libra", "Scorpio", "Sagittarius"]
SIGNS += ["Capricorn", "Aquarius", "Pisces"]


def generate(brief: str, sections: str = "", count: int = 3) -> Any:
    schema = {"properties": {"ideas": {"minItems": count}}}
    return answer_schema("Ideas", schema, f"<brief>\n{brief}\n</brief>\n{sections}")


@pytest.mark.parametrize(
    ("brief", "fits"),
    [
        ("Rain on a quiet city", True),
        ("Tea", True),
        ("雨の夜", True),
        ("🌧️☕📖", True),
        ("", False),
        ("  ?! ", False),
        ("asdfgh qwrtz", False),
        ("A fine brief #unfit", False),
    ],
)
def test_screening_accepts_every_brief_that_can_be_shown(brief: str, fits: bool) -> None:
    """Screening accepts short and vague briefs and rejects empty, nonsensical and marked ones."""
    found = answer_schema("Screening", {}, f"<brief>\n{brief}\n</brief>")

    assert found["fits"] is fits
    assert found["reason"].endswith(".")


@pytest.mark.parametrize("count", [1, 3, 12, 24])
def test_ideas_have_the_requested_count_and_are_distinct(count: int) -> None:
    """Each idea refers to the brief and keeps the maximum lengths."""
    found = generate("Make a calm video about a lighthouse keeper and her ocean", count=count)["ideas"]

    assert len(found) == count
    assert len({idea["scene"] for idea in found}) == len({idea["title"] for idea in found}) == count
    assert all("lighthouse keeper" in idea["scene"] for idea in found)
    assert all(len(idea["overlay"]) <= 40 and len(idea["scene"]) <= 600 for idea in found)


def test_ideas_follow_the_subjects_and_the_overlay_form() -> None:
    """Each subject has one idea, in order, and the materials hardly repeat among twelve ideas."""
    sections = "<subjects>\n" + "\n".join(SIGNS) + "\n</subjects>\n<overlay_form>\nSign — Object\n</overlay_form>"
    found = generate("A pastel mood", sections, count=12)["ideas"]

    assert [idea["overlay"].split(" — ")[0] for idea in found] == SIGNS
    assert found[0]["overlay"].endswith("Ram Horn")
    assert len({idea["overlay"].split(" — ")[1].split()[0] for idea in found}) >= 11
    assert all("pastel mood" in idea["scene"] for idea in found)


def test_a_comment_changes_all_ideas_in_its_direction() -> None:
    """All ideas are replaced, show what was asked for and leave out the rest; equal requests give equal answers."""
    before = generate("Rain on a quiet city")
    comment = "<comment>\nMore foxes please, and no umbrellas\n</comment>"
    after = generate("Rain on a quiet city", comment)

    assert all("foxes" in idea["scene"] and "umbrella" not in idea["scene"] for idea in after["ideas"])
    assert not {idea["title"] for idea in before["ideas"]} & {idea["title"] for idea in after["ideas"]}
    assert after == generate("Rain on a quiet city", comment)


def test_a_comment_on_one_idea_changes_only_that_idea() -> None:
    """Ideas that the reviewer did not mention are kept."""
    before = generate("Rain on a quiet city")["ideas"]
    after = generate("Rain on a quiet city", "<comment>\nIdea 2 should have a fox\n</comment>")["ideas"]

    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]


def test_fault_words_of_a_brief_are_copied_to_the_first_scene_only() -> None:
    """A brief can make exactly one clip fail."""
    found = generate("Rain #moderation_blocked")["ideas"]

    assert ["#moderation_blocked" in idea["scene"] for idea in found] == [True, False, False]


@pytest.mark.parametrize(
    ("comment", "changes"),
    [
        ("Clip 3 is too dark", [("clips", [3])]),
        ("Please redo clips 2 and 4", [("clips", [2, 4])]),
        ("clips 1, 2, and 3 again", [("clips", [1, 2, 3])]),
        ("The second clip shakes", [("clips", [2])]),
        ("Make clip two brighter and keep clip 1", [("clips", [2]), ("keep", [])]),
        ("The last clip, please", [("clips", [4])]),
        ("Clip 9 is bad", [("ideas", [])]),
        ("Better hashtags", [("caption", [])]),
        ("The music should be louder", [("impossible", [])]),
        ("Softer transitions. Better hashtags!", [("impossible", []), ("caption", [])]),
        ("I would rather see dogs", [("ideas", [])]),
        (
            "Keep clips 1, 2 and 3 exactly as they are. The text over clip 3 has a typo",
            [("keep", []), ("impossible", [])],
        ),
        ("Keep 1 and 3, redo 2", [("keep", []), ("clips", [2])]),
        ("No, keep the clips", [("keep", [])]),
        ("No", [("ideas", [])]),
        ("Keep 1 and 3 and drop the astronaut", [("keep", []), ("ideas", [])]),
        ("No water", [("ideas", [])]),
        ("Text over clip 2 should be 'Fog' and post it to instagram too", [("overlay", [2]), ("impossible", [])]),
    ],
)
def test_a_comment_is_read_change_by_change(comment: str, changes: list[tuple[str, list[int]]]) -> None:
    """Each change has the step that makes it, the numbers of existing clips and its sentence."""
    request = f"The film has 4 clips:\n1. A\n<comment>\n{comment}\n</comment>"
    found = answer_schema("RequestedChanges", {}, request)["changes"]

    assert [(each["step"], each["clips"]) for each in found] == changes
    assert all(each["text"] in comment for each in found)
    assert [each["overlay"] for each in found if each["step"] == "overlay"] in ([], ["Fog"])


def test_a_caption_names_the_brief_and_the_use_of_ai() -> None:
    """A caption has at most 150 characters and three to six lower-case hashtags, and changes on request."""
    brief = "<brief>\nRain on a quiet city at night\n</brief>"
    first = answer_schema("Caption", {}, brief)
    changed = f"{brief}\nThe last one was “{first['caption']}”.\n<comment>\nAnother one, with #cosy\n</comment>"
    second = answer_schema("Caption", {}, changed)

    assert "quiet city" in first["caption"]
    assert "AI" in first["caption"]
    assert len(first["caption"]) <= 150
    assert 3 <= len(first["hashtags"]) <= 6
    assert all(re.fullmatch(r"#[^\W_]+", tag) and tag == tag.lower() for tag in first["hashtags"])
    assert "#ai" in first["hashtags"]
    assert second["caption"] != first["caption"]
    assert "#cosy" in second["hashtags"]


def test_a_refused_prompt_is_rewritten_without_the_flagged_words() -> None:
    """The other text is kept, the correlation tag at the end exactly."""
    prompt = "A street #moderation_blocked with gore.\n\nSound: rain.\n\n(Slate ab12, never shown.)"
    found = answer_schema("Shot", {}, f"<prompt>\n{prompt}\n</prompt>")["prompt"]

    assert "#moderation_blocked" not in found
    assert "gore" not in found
    assert "Sound: rain." in found
    assert found.endswith("\n\n(Slate ab12, never shown.)")


@pytest.mark.parametrize(
    ("brief", "expected"),
    [
        ("Please make a calming 12-second video about a cat that surfs. Golden light.", "a cat that surfs"),
        ("Rain on a quiet city at night", "rain on a quiet city at night"),
        ("Show me Tokyo in spring", "Tokyo in spring"),
        ("New York at dawn", "New York at dawn"),
        ("#fail", "a quiet still life"),
        ("An ad for oat milk, no water", "oat milk"),
        ("Explain TCP in three shots", "TCP"),
    ],
)
def test_a_brief_is_summarized_as_its_topic(brief: str, expected: str) -> None:
    """The summary omits the request to make a video."""
    assert read_brief(brief).topic == expected


def test_a_recursive_schema_gets_a_finite_value() -> None:
    """The value respects references, options, constants, formats and bounds."""
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
    found = fill_schema({"$defs": {"node": node}, "$ref": "#/$defs/node"})

    assert (found["kind"], found["steps"]) == ("node", 10)
    assert 2 < found["weight"] <= 3
    assert 9 <= len(found["code"]) <= 12
    assert json.dumps(found).count('"id"') < 10


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("Make a video about bees", "start_run", {"project": "shorts", "brief": "Bees"}),
        ("create a short about rain in project aismr", "start_run", {"project": "aismr", "brief": "Rain"}),
        ("I want a film about bees", "start_run", {"project": "shorts", "brief": "Bees"}),
        (
            "Could you make a film about bees, no flowers",
            "start_run",
            {"project": "shorts", "brief": "Bees, no flowers"},
        ),
        ("Where is my video?", "list_runs", {}),
        ("List projects", "list_projects", {}),
    ],
)
def test_a_message_selects_a_tool(text: str, name: str, arguments: dict[str, str]) -> None:
    """The arguments are the named project and the brief without the request to make a video."""
    string = {"type": "string"}
    both = {"properties": {"project": string, "brief": string}, "required": ["project", "brief"]}
    tools = [
        Function(name="start_run", parameters={"type": "object", **both}),
        Function(name="list_runs", parameters={"type": "object", "properties": {}}),
        Function(name="list_projects"),
    ]
    (call,) = build_reply([Message(role="user", content=text)], tools, None).calls

    assert isinstance(call, ToolCall)
    assert (call.name, json.loads(call.arguments)) == (name, arguments)


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("Approve it", "prepare_decision"),
        ("Looks good, publish it", "prepare_decision"),
        ("Reject run {run}", "prepare_decision"),
        ("Ask for changes: no umbrellas", "prepare_decision"),
        ("Cancel it", "cancel_run"),
        ("Please stop the film {run}.", "cancel_run"),
        ("Don't approve it", None),
        ("Do not cancel it", None),
        ("Don’t make a video about bees", None),
        ("I do not want a video about bees", None),
        ("Make sure it stays private", None),
        ("Make it shorter", None),
        ("Approve it or reject it", None),
        ("Approve it, but not the second clip", None),
        ("It does not look good", None),
        ("Stop the music", None),
        ("Never publish it", None),
        ("Is it good enough to approve?", None),
    ],
)
def test_only_a_plain_message_decides(text: str, tool: str | None) -> None:
    """Anything negated, doubtful or unknown is answered with what the rules understand."""
    run = "0e6f1d2c-1111-4222-8333-123456789abc"
    tools = [Function(name=name) for name in ("start_run", "prepare_decision", "cancel_run")]
    messages = [Message(role="assistant", content=f"Run {run}"), Message(role="user", content=text.format(run=run))]
    reply = build_reply(messages, tools, None)

    assert [call.name for call in reply.calls] == ([tool] if tool else [])
    assert tool or (reply.content or "").startswith("I did not understand.")
