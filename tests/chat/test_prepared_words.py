"""Which words confirm a decision, and which are only words."""

from __future__ import annotations

import re

import pytest

from runs.prepare import CODE, spoken, without_codes
from storage.prepared import DIGITS, LETTERS, _code


@pytest.mark.parametrize(
    "message",
    [
        "approve K7Q2",
        "Approve k7q2",
        "  APPROVE   K7Q2. ",
        "`approve K7Q2`",
        "“approve K7Q2”",
        "**approve K7Q2**",
        "yes, approve K7Q2",
        "Yes please approve K7Q2!",
        "ok: approve: K7Q2 please",
        "I approve K7Q2",
    ],
)
def test_the_word_and_the_code_confirm(message: str) -> None:
    """With whatever niceties and marks around them."""
    said = spoken(message)

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
    assert spoken(message) is None


@pytest.mark.parametrize("word", ["approve", "confirm", "revise", "reject"])
def test_every_verdict_has_its_word(word: str) -> None:
    """And `confirm` stands for each."""
    said = spoken(f"{word} A2C3")

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

    assert without_codes(text) == "Send approve ••••, or (••••)! Clip 2 of take 12, H2O, R2D2x, 720x1280."
