"""The question that a person confirms: what would be decided, written by the server and never by a model."""

import re
from collections.abc import Collection
from decimal import Decimal
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from graph.decisions import DecisionInput
from graph.review_content import ReviewContent, describe_clips, edited_content
from runs.retry_quotes import RetryQuote
from storage.confirmations import DIGITS, LETTERS
from storage.runs import RunRow

#: The limit of a comment: the whole comment is part of the question that is confirmed.
MAX_COMMENT_CHARACTERS = 600
#: The limit of a question. With the answer before it, it stays below the limit of a chat message, 10,000.
MAX_QUESTION_CHARACTERS = 8_000
#: The limits of each text in a question, of which the first that fits is used. No text of a content exceeds the first.
TEXT_LIMITS = (600, 300, 150, 60)
SHORTENED = "Long texts are shortened here; the review of the run contains them in full."

CODE = rf"[{LETTERS}][{DIGITS}][{LETTERS}][{DIGITS}]"
ANY_CODE = re.compile(rf"(?<![A-Z0-9]){CODE}(?![A-Z0-9])", re.IGNORECASE)
REDACTED = "••••"


def redact_codes(text: str, codes: Collection[str] | None = None) -> str:
    """Return the text with these codes redacted; without `codes`, with everything that could be one."""
    return ANY_CODE.sub(lambda found: REDACTED if codes is None or found[0].upper() in codes else found[0], text)


def quote_text(text: str, limit: int = 80) -> str:
    """Return a text of another person for use in a question: quoted, on one line, shortened, without codes."""
    line = redact_codes(" ".join(text.split())).replace("“", "'").replace("”", "'")
    return f"“{line[:limit]}{'…' if len(line) > limit else ''}”"


def describe_decision(decision: DecisionInput, content: ReviewContent, usd: Decimal, film_url: str = "") -> str:
    """Return what would be decided, with everything that is approved or changed. Texts of other people are quoted.

    A text that is only in the decision is never shortened.
    """
    if decision.verdict == "revise":
        return "\n".join([*_render("changes", decision=decision, content=content, usd=usd), *_edits(decision, content)])
    description = f"End the run of {quote_text(content.title)} permanently."
    if decision.verdict == "approve":
        description = _describe_approval(decision, content, usd, film_url)
    separator, comment = "\n" if "\n" in description else " ", quote_text(decision.comment, MAX_COMMENT_CHARACTERS)
    return f"{description}{separator}Your comment: {comment}" if decision.comment else description


def describe_cancellation(run: RunRow) -> str:
    """Return what would be cancelled. Texts of other people are quoted."""
    return "\n".join(_render("cancellation", run=run))


def describe_retry(run: RunRow, quote: RetryQuote) -> str:
    """Return what would be retried and ordered again. Texts of other people are quoted."""
    return "\n".join(_render("retry", run=run, quote=quote))


def _edits(decision: DecisionInput, content: ReviewContent) -> list[str]:
    """Return the lines about a film that its edits change, before and after."""
    if decision.edits is None:
        return []
    before, after = (_render("film", content=each) for each in (content, edited_content(content, decision.edits)))
    old, new = ([line for line in one if line not in other] for one, other in ((before, after), (after, before)))
    return [*(f"Before: {line}" for line in old), *(f"New: {line}" for line in new)]


def _describe_approval(decision: DecisionInput, content: ReviewContent, usd: Decimal, film_url: str) -> str:
    """Return everything that is approved, with texts of the review as long as the limit of a question allows."""
    edited, description = edited_content(content, decision.edits), ""
    approved = edited_content(edited, None, decision.sample)
    offer = {"before": content, "edited": edited, "clips": describe_clips(approved)}
    for limit in TEXT_LIMITS:
        block = "ideas" if content.gate == "ideation" else "film"
        lines = _render(block, content=approved, usd=usd, film_url=film_url, limit=limit, **offer)
        description = "\n".join([*lines, *([SHORTENED] if limit != TEXT_LIMITS[0] else [])])
        if len(description) <= MAX_QUESTION_CHARACTERS - MAX_COMMENT_CHARACTERS - 100:
            break
    return description


def _render(block: str, **variables: Any) -> list[str]:
    """Return the lines of a block of `questions.jinja`."""
    context = _TEMPLATE.new_context({"full": TEXT_LIMITS[0], "film_url": "", **variables})
    lines = "".join(_TEMPLATE.blocks[block](context)).split("\n")
    return [line.strip() for line in lines if line.strip()]


_ENVIRONMENT = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701 - plain text
_ENVIRONMENT.filters |= {"quote": quote_text, "redact": redact_codes}
_TEMPLATE = _ENVIRONMENT.from_string(Path(__file__).with_name("questions.jinja").read_text(encoding="utf-8"))
