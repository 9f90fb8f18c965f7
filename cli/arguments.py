"""Arguments that several commands share, and how their texts are read. Each reader raises BadParameter."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of the run, or its first 6 characters or more.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Budget = Annotated[float | None, typer.Option(min=0, max=100_000, help="The cap of the run, in USD.")]
ProjectOptions = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME=N", help="An option of the project; repeatable.")
]
Edits = Annotated[str | None, typer.Option(metavar="JSON", help="The edited content, as in REST: JSON or @FILE.")]


def numbers(values: Sequence[str] | None, option: str) -> list[int]:
    """Return the numbers of an option: `1,3`, or given several times."""
    found = [part for value in values or () for part in re.split(r"[,\s]+", value.strip())]
    if not all(re.fullmatch("[0-9]{1,4}", part) for part in found):
        raise typer.BadParameter(f"{option} takes numbers, such as 1,3.")
    return [int(part) for part in found]


def numbered(values: Sequence[str] | None, option: str) -> dict[int, str]:
    """Return the values of an option by number: `2=text`, given several times."""
    found = [value.partition("=") for value in values or ()]
    if not all(separator for _, separator, _ in found):
        raise typer.BadParameter(f"{option} takes a number and a value, such as 2=text.")
    return dict(zip(numbers([name for name, _, _ in found], option), (value for *_, value in found), strict=True))


def options(values: Sequence[str] | None) -> dict[str, int]:
    """Return the options of a project by name: `clips=2`, given several times."""
    found = [value.partition("=") for value in values or ()]
    return dict(zip((name for name, _, _ in found), numbers([value for *_, value in found], "--option"), strict=True))


def clip_notes(values: Sequence[str] | None) -> list[Any]:
    """Return the clips to generate again: `1,3`, or `3:too dark`, given several times."""
    notes: list[Any] = []
    for value in values or ():
        clips, _, comment = value.partition(":")
        notes += [{"clip": clip, "comment": comment.strip()} for clip in numbers([clips], "--clips")]
    return notes


def with_texts(edits: Any, texts: Mapping[str, Any]) -> Any:
    """Return the edits of a film with the texts that are given, or the edits as they are without any."""
    given = {name: text for name, text in texts.items() if text is not None}
    if given and isinstance(edits, list):
        raise typer.BadParameter("--edits with a list of ideas excludes texts of the film.")
    return {**(edits or {}), **given} if given else edits


def json_of(value: str | None) -> Any:
    """Return the value of JSON text or of the file `@FILE`, or None."""
    if value is None:
        return None
    try:
        return json.loads(Path(value[1:]).read_text() if value.startswith("@") else value)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--edits takes JSON, or @ and the name of a file with JSON: {error}.") from None
