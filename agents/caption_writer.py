"""The caption writer: the text that is posted with a film."""

from collections.abc import Sequence
from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, model_validator

from agents.structured import ask_structured
from agents.texts import Hashtags, Idea, TextLength
from prompts.templates import prompt
from providers.orders import ModelAnswer

#: A caption of a model may be longer than the platforms take: it is shortened for the review, with a notice.
MAX_MODEL_CHARACTERS = 10_000


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
