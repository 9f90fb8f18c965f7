"""The shot writer: from an approved idea to the prompt of a clip."""

from __future__ import annotations

from typing import Annotated

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, ConfigDict

from agents.ideator import Idea
from agents.structured import ask_structured, bounded_text
from prompts.project import Project
from prompts.templates import prompt
from providers.orders import ModelAnswer


class Shot(BaseModel):
    """The words of a shot, written again."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[str, bounded_text(4000)]


def shot_prompt(project: Project, idea: Idea, note: str = "") -> str:
    """What the video model is told to make of this idea, and of the reviewer's note on the take before.

    It is put together without a model, so that whoever approves the idea approves all that will be ordered.
    """
    return prompt("shot", project=project, idea=idea, note=note).request


def with_correlation_tag(words: str, slate: str) -> str:
    """The words with a slate, unique to the order, by which two orders of the same idea are told apart."""
    return prompt("slate", words=words, slate=slate).request


async def rewrite_shot(model: BaseChatModel, refused: str, reason: str) -> ModelAnswer[Shot]:
    """Other words for the same idea, after a video model's moderation refused the last. Raises as `ask` does."""
    return await ask_structured(model, prompt("shot_writer", refused=refused, reason=reason), Shot)
