"""The question that a person confirms: what would be decided, written by the server and never by a model."""

import re
from collections.abc import Collection, Iterator
from decimal import Decimal

from graph.decisions import Verdict
from graph.review_content import FilmContent, IdeasContent, ReviewContent, describe_clips
from storage.confirmations import DIGITS, LETTERS
from storage.runs import RunRow

#: The limit of a comment: the whole comment is part of the question that is confirmed.
MAX_COMMENT_CHARACTERS = 600
#: The limit of a question. With the answer before it, it stays below the limit of a chat message, 10,000.
MAX_QUESTION_CHARACTERS = 8_000
#: The limits of each text in a question, of which the first that fits is used. No text of a content exceeds the first.
TEXT_LIMITS = (600, 300, 150, 60)
MAX_BRIEF_CHARACTERS = 300
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


def describe_decision(verdict: Verdict, content: ReviewContent, comment: str, usd: Decimal, film_url: str = "") -> str:
    """Return what would be decided; of an approval, everything that is approved. Texts of other people are quoted."""
    title = quote_text(content.title)
    quoted_comment = quote_text(comment, MAX_COMMENT_CHARACTERS)
    if verdict == "revise":
        return f"Request changes to {title}, which costs nothing before a price is approved: {quoted_comment}"
    if verdict == "reject":
        description = f"End the run of {title} permanently."
    else:
        description = _describe_approval(content, usd, film_url)
    separator = "\n" if "\n" in description else " "
    return f"{description}{separator}Your comment: {quoted_comment}" if comment else description


def describe_cancellation(run: RunRow) -> str:
    """Return what would be cancelled. Texts of other people are quoted."""
    subject, status = quote_text(run.brief, MAX_BRIEF_CHARACTERS), run.status.replace("_", " ")
    return (
        f"End the run {subject} of project {run.project} permanently; its status is {status}."
        " Orders that were placed are paid; no more are placed."
    )


def _describe_approval(content: ReviewContent, usd: Decimal, film_url: str) -> str:
    """Return everything that is approved, with texts as long as the limit of a question allows."""
    description = ""
    for limit in TEXT_LIMITS:
        lines = (
            _idea_lines(content, usd, limit) if isinstance(content, IdeasContent) else _film_lines(content, film_url)
        )
        description = "\n".join([*lines, *([SHORTENED] if limit != TEXT_LIMITS[0] else [])])
        if len(description) <= MAX_QUESTION_CHARACTERS - MAX_COMMENT_CHARACTERS - 100:
            break
    return description


def _idea_lines(content: IdeasContent, usd: Decimal, limit: int) -> Iterator[str]:
    count = len(content.make)
    clips = f"{count} clip{'' if count == 1 else 's'}"
    yield f"Generate {clips} of {quote_text(content.title)} for {usd} USD. {describe_clips(content)}".strip()
    for number, idea in enumerate(content.ideas, start=1):
        kept = "" if number in content.make else " (generated already; it is kept)"
        overlay = f" Text over it: {quote_text(idea.overlay)}." if idea.overlay else ""
        overlay += f" Narration: {quote_text(idea.narration, limit)}." if idea.narration else ""
        scene, sound = quote_text(idea.scene, limit), quote_text(idea.sound, limit)
        yield f"{number}. {quote_text(idea.title)}{kept}: {scene} Sound: {sound}.{overlay}"


def _describe_platforms(content: FilmContent) -> str:
    places = {name: f" ({redact_codes(place)})" for name, place in content.destinations.items()}
    return ", ".join(f"{name}{places.get(name, '')}" for name in content.platforms)


def _film_lines(content: FilmContent, film_url: str) -> Iterator[str]:
    label = " It is labelled as made with AI." if content.labelled_as_ai else ""
    by = f" by {content.publisher}" if content.publisher else ""
    subject = f"{quote_text(content.title)}, {content.film.seconds:g} s"
    yield f"Publish the film {subject}, to {_describe_platforms(content)}{by}.{label}"
    if content.disclosure:  # absent in a review that an earlier version opened
        yield content.mark_note
        yield f"AI labels: {', '.join(f'{name}: {label}' for name, label in content.labels.items())}."
    yield from map(redact_codes, content.remarks)
    yield f"Film: {film_url}"
    yield f"Caption: {quote_text(content.caption, TEXT_LIMITS[0])}"
    yield f"Hashtags: {redact_codes(' '.join(content.hashtags)) or 'none'}"
    if content.music:
        yield f"Music {content.music.digest[:8]}, licence: {quote_text(content.music.licence)}"
    for clip in content.clips:
        if clip.overlay:
            yield f"Text over clip {clip.clip}: {quote_text(clip.overlay)}"
