"""The agents that write: the ideator the ideas, the shot writer the prompts of clips, the caption writer the post."""

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, Field, create_model, model_validator

from agents.structured import ask_structured
from agents.texts import Hashtags, Idea, NarratedIdea, NewIdea, TextLength
from prompts.project import Project
from prompts.templates import prompt
from providers.orders import ModelAnswer

#: A caption of a model may be longer than the platforms take: it is shortened for the review, with a notice.
MAX_MODEL_CHARACTERS = 10_000


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


class Caption(BaseModel, extra="forbid"):
    """The text that is posted with a film, as a model writes it. Hashtags that are none do not invalidate it."""

    caption: Annotated[str, TextLength(MAX_MODEL_CHARACTERS)]
    hashtags: Hashtags

    @model_validator(mode="before")
    @classmethod
    def _drop_unusable_hashtags(cls, answer: Any) -> Any:
        if not isinstance(answer, dict):
            return answer
        tags = answer.get("hashtags")
        texts = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else tags
        return {**answer, "hashtags": texts if isinstance(texts, str | list) else []}


async def write_caption(
    model: BaseChatModel, brief: str, title: str, ideas: Sequence[Idea], *, previous: str = "", comment: str = ""
) -> ModelAnswer[Caption]:
    """Return a caption for these ideas; with a comment, another than `previous`. Raises as `ask_structured` does."""
    request = prompt("caption", brief=brief, title=title, ideas=ideas, previous=previous, comment=comment)
    return await ask_structured(model, request, Caption)
