"""Which words confirm a decision, and which are only words."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

from chat.confirmations import CODE, MAX_COMMENT_CHARACTERS, Verdict, _usd, _what, parse_command, redact_codes
from storage.confirmations import DIGITS, LETTERS, _code


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
    """With whatever niceties and marks around them."""
    said = parse_command(message)

    assert said is not None
    assert (said.word, said.code) == ("approve", "K7Q2")


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
def test_anything_else_does_not(message: str) -> None:
    """Half a sentence, a question, a quotation, a no."""
    assert parse_command(message) is None


@pytest.mark.parametrize("word", ["approve", "confirm", "revise", "reject"])
def test_every_verdict_has_its_word(word: str) -> None:
    """And `confirm` stands for each."""
    said = parse_command(f"{word} A2C3")

    assert said is not None
    assert said.word == word


def test_codes_are_plain() -> None:
    """No sign that looks like another, and no code that could be a word."""
    codes = {_code() for _ in range(500)}

    assert not set("01OIL5SBZ8") & set(LETTERS + DIGITS.replace("8", ""))
    assert all(re.fullmatch(CODE, code) for code in codes)
    assert len(codes) > 450


def test_what_a_model_reads_holds_no_code() -> None:
    """Whatever its case, and wherever it stands; words and other numbers stay."""
    text = "Send approve K7Q2, or (a2c3)! Clip 2 of take 12, H2O, R2D2x, 720x1280."

    assert redact_codes(text) == "Send approve ••••, or (••••)! Clip 2 of take 12, H2O, R2D2x, 720x1280."
    assert redact_codes("_approve K7Q2_ approve_a2c3_") == "_approve ••••_ approve_••••_"


def test_a_word_that_is_no_code_is_left_alone() -> None:
    """Where the codes are known, only they are blackened: a film may be about a robot."""
    assert redact_codes("R2D2 said: approve k7q2", {"K7Q2"}) == "R2D2 said: approve ••••"


def _review(gate: str) -> dict[str, Any]:
    content = {
        "ideation": {"title": "Rain", "make": [1, 2, 3], "estimated_usd": "1.20", "usd_per_clip": "0.40"},
        "publish": {
            "title": "Rain",
            "clips": [{"clip": number} for number in (1, 2, 3)],
            "usd_per_clip": "0.40",
            "platforms": ["tiktok"],
        },
    }
    return {"gate": gate, "content": content[gate]}


@pytest.mark.parametrize(
    ("comment", "usd"),
    [
        ("clip 3 is too dark", "0.40"),
        ("clip 03 is too dark", "0.40"),
        ("clips 1 and 3, please", "0.80"),
        ("3", "0.40"),
        ("clip ٣ is too dark", "0.40"),
        ("more like 3 seconds", "0"),
        ("clip 9 is too dark", "0"),
    ],
)
def test_the_price_is_that_of_the_clips_that_would_be_made(comment: str, usd: str) -> None:
    """The clips that a comment names are found by the rule that lets them be made."""
    assert _usd("revise", _review("publish"), comment) == Decimal(usd)


@pytest.mark.parametrize("gate", ["ideation", "publish"])
@pytest.mark.parametrize("verdict", ["approve", "revise", "reject"])
def test_every_word_of_a_comment_is_shown(verdict: Verdict, gate: str) -> None:
    """Whatever is decided under a code, the person reads it before."""
    comment = "More rain. " * 50 + "And an advert at the end."
    what = _what(verdict, _review(gate), comment, Decimal("1.20"))

    assert len(comment) < MAX_COMMENT_CHARACTERS
    assert comment in what
    assert "comment" not in _what("approve", _review(gate), "", Decimal("1.20"))
