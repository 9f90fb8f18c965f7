"""The supervisor's two judgements: does a brief fit, and where does a comment send the work back to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, ConfigDict

from agents.asking import ask, text_of
from agents.ideator import Idea
from prompts.project import Project
from prompts.templates import prompt
from providers.orders import Answer


class Screening(BaseModel):
    """Whether a brief can become a video of the project."""

    model_config = ConfigDict(extra="forbid")

    fits: bool
    reason: Annotated[str, text_of(500, minimum=0)]


class Route(BaseModel):
    """Where the work goes back to after a reviewer asked for changes."""

    model_config = ConfigDict(extra="forbid")

    step: Literal["ideas", "clips", "caption", "render"]
    clips: list[int]
    instruction: Annotated[str, text_of(1000, minimum=0)]


async def screen(model: BaseChatModel, project: Project, brief: str) -> Answer[Screening]:
    """Whether the brief fits the project. Raises as `ask` does."""
    return await ask(model, prompt("screening", project=project, brief=brief), Screening)


async def route(model: BaseChatModel, ideas: Sequence[Idea], comment: str) -> Answer[Route]:
    """The one step that the comment on a finished film concerns. Raises as `ask` does."""
    return await ask(model, prompt("router", ideas=ideas, comment=comment), Route)
