"""The shot writer: from an approved idea to the prompt of a clip."""

from typing import Annotated

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel

from agents.structured import ask_structured
from agents.texts import Idea, TextLength
from prompts.project import Project
from prompts.templates import prompt
from providers.orders import ModelAnswer


class Shot(BaseModel, extra="forbid"):
    """The rewritten prompt of a clip."""

    prompt: Annotated[str, TextLength(4000)]


def shot_prompt(project: Project, idea: Idea, note: str = "") -> str:
    """Return the prompt of a clip from its idea and the reviewer's note on the take before.

    It is built without a model, so that an approval of the idea covers everything that will be ordered.
    """
    return prompt("shot", project=project, idea=idea, note=note).request


def with_correlation_tag(words: str, tag: str) -> str:
    """Return the prompt with a tag in its last line, which identifies the order in the provider's list of tasks."""
    return prompt("correlation_tag", words=words, tag=tag).request


def without_correlation_tag(prompt: str) -> str:
    """Return the prompt of an order without the line of its tag: clips with equal results are equal here."""
    return prompt.rpartition("\n")[0].rstrip()


async def rewrite_shot(model: BaseChatModel, refused: str, reason: str) -> ModelAnswer[Shot]:
    """Return another prompt for an idea after moderation refused the last one. Raises as `ask_structured` does."""
    return await ask_structured(model, prompt("shot_writer", refused=refused, reason=reason), Shot)
