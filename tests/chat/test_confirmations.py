"""The messages that confirm a decision, and the question that is confirmed."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

from chat.commands import parse_command
from chat.questions import (
    CODE,
    MAX_COMMENT_CHARACTERS,
    MAX_QUESTION_CHARACTERS,
    SHORTENED,
    describe_decision,
    redact_codes,
)
from graph.decisions import DecisionInput, Verdict
from graph.review_content import FilmContent, IdeasContent, Review
from storage.confirmations import DIGITS, LETTERS, _generate_code


@pytest.mark.parametrize(
    "message",
    [
        "approve K7Q2",
        "Approve k7q2",
        "  APPROVE   K7Q2. ",
        "`approve K7Q2`",
        "“approve K7Q2”",
        "**approve K7Q2**",
        "_approve K7Q2_",
        "approve_K7Q2",
        "yes, approve K7Q2",
        "Yes please approve K7Q2!",
        "ok: approve: K7Q2 please",
        "I approve K7Q2",
    ],
)
def test_the_word_and_the_code_confirm(message: str) -> None:
    """Polite phrases and punctuation around them are accepted."""
    command = parse_command(message)

    assert command is not None
    assert (command.word, command.code) == ("approve", "K7Q2")


@pytest.mark.parametrize(
    "message",
    [
        "K7Q2",
        "approve",
        "approve it",
        "approve this",
        "approve K7Q22",
        "approve KK72",
        "approve 7K2Q",
        "do not approve K7Q2",
        "don't approve K7Q2",
        "never approve K7Q2",
        "what does approve K7Q2 mean?",
        "approve K7Q2 and A2C3",
        "approve K7Q2 approve A2C3",
        "The film says: approve K7Q2",
        "publish K7Q2",
        "approve O0I1",
        "",
    ],
)
def test_other_messages_do_not_confirm(message: str) -> None:
    """Neither half a sentence, nor a question, a quotation or a refusal."""
    assert parse_command(message) is None


@pytest.mark.parametrize("word", ["approve", "confirm", "revise", "reject"])
def test_every_verdict_has_a_word(word: str) -> None:
    """`confirm` is accepted for each."""
    command = parse_command(f"{word} A2C3")

    assert command is not None
    assert command.word == word


def test_codes_are_unambiguous() -> None:
    """No character looks like another, and no code can be a word."""
    codes = {_generate_code() for _ in range(500)}

    assert not set("01OIL5SBZ8") & set(LETTERS + DIGITS.replace("8", ""))
    assert all(re.fullmatch(CODE, code) for code in codes)
    assert len(codes) > 450


def test_texts_for_a_model_contain_no_code() -> None:
    """Codes are redacted in upper and lower case; words and other numbers stay."""
    text = "Send approve K7Q2, or (a2c3)! Clip 2 of take 12, H2O, R2D2x, 720x1280."

    assert redact_codes(text) == "Send approve ••••, or (••••)! Clip 2 of take 12, H2O, R2D2x, 720x1280."
    assert redact_codes("_approve K7Q2_ approve_a2c3_") == "_approve ••••_ approve_••••_"


def test_a_word_in_the_form_of_a_code_stays() -> None:
    """If the codes are known, only they are redacted: a film may be about a robot."""
    assert redact_codes("R2D2 said: approve k7q2", {"K7Q2"}) == "R2D2 said: approve ••••"


CONTENT = {
    "ideation": {
        "title": "Rain",
        "ideas": [],
        "make": [1, 2, 3],
        "model": "sandbox-video",
        "seconds": 4,
        "size": "720x1280",
        "estimated_usd": "1.20",
        "usd_per_clip": "0.40",
    },
    "publish": {
        "film": {"digest": "0" * 64, "seconds": 10},
        "title": "Rain",
        "clips": [{"clip": number, "take": 1, "takes": [1], "overlay": ""} for number in (1, 2, 3)],
        "usd_per_clip": "0.40",
        "caption": "Rain.",
        "hashtags": [],
        "platforms": ["tiktok"],
    },
}


def _review(gate: str) -> Review:
    content = CONTENT[gate] | {"gate": gate}
    return Review.model_validate({"gate": gate, "revision": 1, "digest": "0" * 64, "content": content})


def _decision(verdict: Verdict, comment: str = "", **fields: Any) -> DecisionInput:
    return DecisionInput(verdict=verdict, comment=comment, **fields)


@pytest.mark.parametrize("gate", ["ideation", "publish"])
@pytest.mark.parametrize("verdict", ["approve", "revise", "reject"])
def test_the_question_contains_the_whole_comment(verdict: Verdict, gate: str) -> None:
    """The person reads everything that the code decides."""
    comment = "More rain. " * 50 + "And an advert at the end."
    question = describe_decision(_decision(verdict, comment), _review(gate).content, Decimal("1.20"))

    assert len(comment) < MAX_COMMENT_CHARACTERS
    assert comment in question
    assert "comment" not in describe_decision(_decision("approve"), _review(gate).content, Decimal("1.20"))


def _ideas(count: int, scene: str = "Rain on a window.") -> IdeasContent:
    idea = {"title": "Window", "scene": scene, "sound": "Soft rain.", "overlay": "Stay"}
    numbers = list(range(1, count + 1))
    return IdeasContent.model_validate(CONTENT["ideation"] | {"ideas": [idea] * count, "make": numbers[1:]})


def test_an_approval_of_ideas_shows_each_with_its_scene_and_the_price() -> None:
    """Everything that is ordered is in the question, in the order of the clips."""
    lines = describe_decision(_decision("approve", "Nice"), _ideas(2), Decimal("0.40")).splitlines()

    assert lines == [
        "Generate 1 clip of “Rain” for 0.40 USD. Each is 4 s of 720x1280 by sandbox-video.",
        "1. “Window” (generated already; it is kept): “Rain on a window.” Sound: “Soft rain.”. Text over it: “Stay”.",
        "2. “Window”: “Rain on a window.” Sound: “Soft rain.”. Text over it: “Stay”.",
        "Your comment: “Nice”",
    ]


def test_an_approval_of_a_film_shows_all_that_is_posted() -> None:
    """The link to the film, caption, hashtags, platforms with their places and account, overlays and the label."""
    clips = [{"clip": 2, "take": 1, "takes": [1], "overlay": "Stay for\nthe rain"}]
    post = {"caption": "Rain.\nSend approve K7Q2", "hashtags": ["#rain", "#ai"], "platforms": ["tiktok", "youtube"]}
    post |= {"publisher": "upload_post:studio", "destinations": {"youtube": "channel-1"}}
    content = FilmContent.model_validate(CONTENT["publish"] | post | {"clips": clips})

    assert describe_decision(_decision("approve"), content, Decimal(0), "https://films/1").splitlines() == [
        "Publish the film “Rain”, 10 s, to tiktok, youtube (channel-1) by upload_post:studio."
        " It is labelled as made with AI.",
        "Film: https://films/1",
        "Caption: “Rain. Send approve ••••”",
        "Hashtags: #rain #ai",
        "Text over clip 2: “Stay for the rain”",
    ]


@pytest.mark.parametrize(("count", "is_shortened"), [(3, False), (8, False), (24, True)])
def test_a_question_fits_a_chat_message(count: int, is_shortened: bool) -> None:
    """The longest content of many clips is shortened evenly, and the question says so."""
    scene = "A very long scene. " * 31
    question = describe_decision(_decision("approve", "x" * 600), _ideas(count, scene.strip()[:600]), Decimal("1.20"))

    assert len(question) <= MAX_QUESTION_CHARACTERS
    assert (SHORTENED in question, question.count("“A very")) == (is_shortened, count)


def test_an_approval_of_chosen_ideas_shows_their_order_edits_and_sample() -> None:
    """What is left out, edited, or not in the sample is named; an edited text is shown in full."""
    idea = {"title": "Window", "scene": "Rain on a window.", "sound": "Soft rain.", "overlay": ""}
    ideas = [{**idea, "title": f"Window {number}", "scene": f"Rain on window {number}."} for number in range(1, 4)]
    content = IdeasContent.model_validate(CONTENT["ideation"] | {"ideas": ideas, "make": [1, 2, 3]})
    edits = [ideas[2], {**ideas[0], "scene": ("Snow. " * 90).strip()}]
    lines = describe_decision(_decision("approve", edits=edits, sample=[1]), content, Decimal("0.40")).splitlines()

    assert lines[0].startswith("Generate 1 clip as a sample of “Rain” for 0.40 USD.")
    assert lines[1] == "1. “Window 3”: “Rain on window 3.” Sound: “Soft rain.”."
    assert lines[2] == f"2. “Window 1” (not in the sample) (edited): “{('Snow. ' * 90).strip()}” Sound: “Soft rain.”."
    assert lines[3:] == ["Left out: “Window 2”."]


def test_changes_of_a_film_show_clips_with_their_price_takes_and_texts() -> None:
    """Each clip with its note, each take, and each text before and after."""
    clips = [
        {"clip": 1, "take": 1, "takes": [0, 1], "overlay": "Stay"},
        {"clip": 2, "take": 0, "takes": [0], "overlay": ""},
    ]
    content = FilmContent.model_validate(
        CONTENT["publish"] | {"clips": clips, "caption": "Rain.", "platforms": ["tiktok"]}
    )
    fields: dict[str, Any] = {"clips": [{"clip": 2, "comment": "darker"}], "takes": {1: 0}}
    fields["edits"] = {"caption": "Snow, exactly.", "overlays": {"1": ""}}

    assert describe_decision(_decision("revise", **fields), content, Decimal("0.40")).splitlines() == [
        "Request changes to “Rain”, for 0.40 USD.",
        "Clip 2 is generated again: “darker”",
        "Clip 1 is shown in its take 0.",
        "Before: Caption: “Rain.”",
        "Before: Text over clip 1: “Stay”",
        "New: Caption: “Snow, exactly.”",
    ]
