"""The ideator: from a brief to the ideas of a film."""

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, Field, create_model

from agents.structured import ask_structured
from agents.texts import NarratedIdea, NewIdea, TextLength
from prompts.project import Project
from prompts.templates import prompt
from providers.orders import ModelAnswer


class Ideas(BaseModel, extra="forbid"):
    """The ideas of one film, one for each clip, in order."""

    title: Annotated[str, TextLength(80)]
    ideas: list[NewIdea]


class PreviousReview(TypedDict):
    """An earlier revision: a line about each of its ideas, and the comment of the reviewer."""

    revision: int
    ideas: list[str]
    comment: str


async def ideate(
    model: BaseChatModel, project: Project, brief: str, *, history: Sequence[PreviousReview] = (), comment: str = ""
) -> ModelAnswer[Ideas]:
    """Return as many ideas as the project has clips. Raises the errors of `ask_structured`."""
    count = Field(min_length=project.clips, max_length=project.clips)
    ideas: Any = list[NarratedIdea] if project.voice else list[NewIdea]
    schema = create_model("Ideas", __base__=Ideas, __doc__=Ideas.__doc__, ideas=(ideas, count))
    request = prompt("ideator", project=project, brief=brief, history=list(history), comment=comment)
    return await ask_structured(model, request, schema)
