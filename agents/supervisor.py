"""The supervisor's two judgements: does a brief fit, and where does a comment send the work back to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, ConfigDict

from agents.ideator import Idea
from agents.structured import ask_structured, bounded_text
from prompts.project import Project
from prompts.templates import prompt
from providers.orders import ModelAnswer


class Screening(BaseModel):
    """Whether a brief can become a video of the project."""

    model_config = ConfigDict(extra="forbid")

    fits: bool
    reason: Annotated[str, bounded_text(500, minimum=0)]


class Route(BaseModel):
    """Where the work goes back to after a reviewer asked for changes."""

    model_config = ConfigDict(extra="forbid")

    step: Literal["ideas", "clips", "caption", "render"]
    clips: list[int]
    instruction: Annotated[str, bounded_text(1000, minimum=0)]


async def screen_brief(model: BaseChatModel, project: Project, brief: str) -> ModelAnswer[Screening]:
    """Whether the brief fits the project. Raises as `ask` does."""
    return await ask_structured(model, prompt("screening", project=project, brief=brief), Screening)


async def route_comment(model: BaseChatModel, ideas: Sequence[Idea], comment: str) -> ModelAnswer[Route]:
    """The one step that the comment on a finished film concerns. Raises as `ask` does."""
    return await ask_structured(model, prompt("router", ideas=ideas, comment=comment), Route)
