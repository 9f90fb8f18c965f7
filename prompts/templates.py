"""Prompt templates: Markdown files with the blocks `system` and `request`; a missing variable is an error."""

from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent


class Prompt(NamedTuple):
    """The two messages of a request to a model."""

    system: str
    request: str


def _untagged(text: str) -> str:
    """Replace angle brackets, so that no text inside a section can close it."""
    return text.replace("<", "‹").replace(">", "›")


_environment = Environment(  # noqa: S701 - these are prompts, not HTML; `untagged` protects their sections
    loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_environment.filters["untagged"] = _untagged


def prompt(name: str, **variables: Any) -> Prompt:
    """Return the rendered prompt `prompts/<name>.md`. Raises jinja2.UndefinedError for a missing variable."""
    template = _environment.get_template(f"{name}.md")
    context = template.new_context(variables)
    blocks = {block: "".join(render(context)).strip() for block, render in template.blocks.items()}
    return Prompt(**blocks)
