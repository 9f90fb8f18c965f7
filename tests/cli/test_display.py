"""What the terminal prints of a review."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO

from rich.console import Console

from cli.display import print_review
from graph.review_content import FilmClip, FilmContent, FilmFile

WARNINGS = [
    "Clip 1: It lasts 3.70 s instead of 4 s, so the film is shorter.",
    "The film has -22.6 LUFS instead of -14.",
]


def test_the_warnings_of_a_film_are_printed_before_the_notices() -> None:
    """A person at the terminal sees what a person on the page sees."""
    content = FilmContent(
        film=FilmFile(digest="f" * 64, seconds=3.7),
        title="Rain",
        clips=[FilmClip(clip=1, take=1, takes=[1], overlay="")],
        usd_per_clip=Decimal("0.40"),
        caption="Rain.",
        hashtags=["#rain"],
        platforms=["tiktok"],
        warnings=WARNINGS,
        notices=["Shortened."],
    )
    output = StringIO()

    print_review(Console(file=output, width=200), content)

    assert [line.strip() for line in output.getvalue().splitlines()][-3:] == [
        f"Note: {sentence}" for sentence in [*WARNINGS, "Shortened."]
    ]
