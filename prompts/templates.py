"""Prompts are Markdown files of two blocks, `system` and `request`; a missing variable is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent


class Prompt(NamedTuple):
    """What a model is told: its standing instructions and the request at hand."""

    system: str
    request: str


def _untagged(text: str) -> str:
    """The text with its angle brackets made harmless, so that nothing inside a section can close it."""
    return text.replace("<", "‹").replace(">", "›")


_words = Environment(
    loader=FileSystemLoader(FOLDER),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # noqa: S701 - these are prompts, not HTML; `untagged` guards their sections
)
_words.filters["untagged"] = _untagged


def prompt(name: str, **variables: Any) -> Prompt:
    """The prompt `prompts/<name>.md`, rendered. Raises jinja2.UndefinedError for a variable not given."""
    template = _words.get_template(f"{name}.md")
    context = template.new_context(variables)
    blocks = {block: "".join(render(context)).strip() for block, render in template.blocks.items()}
    return Prompt(**blocks)
