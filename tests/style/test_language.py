"""The code speaks plain technical English: see docs/glossary.md."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

import pytest
from source import PRODUCT, ROOT, python_files

#: Words that were replaced by terms of the field; at most so many per 1,000 words of docstrings and comments.
WORDS = re.compile(
    r"\b(somebody|nobody|anybody|whoever|whatever|whom|whose|told|tells?|said|says|meanwhile|beside|anew|stands?|stood"
    r"|laid|lays|lies|once more|by itself|by now|yet|rests?|comes? to (its )?(end|nothing)|in the making|under way"
    r"|at hand|for good|now and then|looked (for|after)|wants?|wanted|asked|asks|spoken|heard|hears?|begun|began|begins"
    r"|made|makes)\b",
    re.IGNORECASE,
)
MAX_WORDS_PER_1000 = 3.0
#: Docstrings start with a verb, not with a question word; at most this share of them, in percent.
QUESTION = re.compile(r"^(What|Whether|How|Who|Whose|Where|Why|That)\b")
MAX_QUESTIONS_PERCENT = 1.0

#: Identifiers that were replaced. Each has one new name in docs/glossary.md or in the CHANGELOG.
RETIRED = frozenset(
    """
    Talk TalkPorts talk_place told video_told render_told Production production Assembly assembly Ports ports
    Standing standing Fate fate fates whereabouts collect look_for looks next_look_at Going going Wishes wishes
    reached DatabaseAway Heard heard Said said Asked asked Spoken spoken Prepared prepared prepared_decisions
    Line Outside outside untold PostgresInbox Once shown said_before slate leash apart hider HIDDEN put_off
    request_times due_reviews closed_addresses may_decide who started_by decided_by made_by asked_by
    prepared_for request_key external_id Shop Shops shop shops moods mood World world people promises Hired
    Courier Painters
    """.split()  # noqa: SIM905 - a list of words
)
FIELDS = ("name", "id", "attr", "arg", "asname", "module")
#: Names that a library gives to what it calls.
OF_LIBRARIES = {"telemetry/metrics.py: collect"}


def _texts() -> Iterator[tuple[bool, str]]:
    """Yield every docstring and comment of the product; the flag is true for docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in python_files(*PRODUCT):
        source = path.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, documented) and (docstring := ast.get_docstring(node)):
                yield True, docstring
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield False, token.string


def test_prose_uses_the_terms_of_the_field() -> None:
    """Docstrings and comments hardly use a retired word."""
    text = "\n".join(text for _, text in _texts())
    found = [match[0].lower() for match in WORDS.finditer(text)]

    assert 1000 * len(found) / len(re.findall(r"\w+", text)) <= MAX_WORDS_PER_1000, sorted(found)


def test_docstrings_start_with_a_verb() -> None:
    """Docstrings do not open with a question word."""
    docstrings = [text for is_docstring, text in _texts() if is_docstring]
    questions = [text.splitlines()[0] for text in docstrings if QUESTION.match(text)]

    assert 100 * len(questions) / len(docstrings) <= MAX_QUESTIONS_PERCENT, questions


@pytest.mark.parametrize("folder", [*PRODUCT, "sandbox", "bench", "tests", "docs"])
def test_retired_identifiers_are_gone(folder: str) -> None:
    """No identifier is one of those that were replaced."""
    found = set()
    for path in python_files(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            names = {getattr(node, field, None) for field in FIELDS}
            found |= {f"{path.relative_to(ROOT)}: {name}" for name in names & RETIRED}

    assert sorted(found - OF_LIBRARIES) == []
