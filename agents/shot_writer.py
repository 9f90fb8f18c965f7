"""The shot writer: from an approved idea to the prompt of a clip."""

from __future__ import annotations

from agents.ideator import Idea
from prompts.project import Project
from prompts.templates import prompt


def shot_prompt(project: Project, idea: Idea, slate: str) -> str:
    """The prompt that the video model is given for this idea.

    It is put together without a model, so that whoever approves the idea approves all that will be ordered. The
    slate, unique to the order, makes two orders of the same idea tell apart when one has to be looked up.
    """
    return prompt("shot", project=project, idea=idea, slate=slate).request
