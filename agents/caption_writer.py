"""The caption writer: the text that is posted with a film."""

import re
from collections.abc import Sequence
from typing import Annotated

from langchain_core.language_models import BaseChatModel
from pydantic import AfterValidator, BaseModel

from agents.ideator import Idea
from agents.structured import ask_structured, bounded_text
from prompts.templates import prompt
from providers.orders import ModelAnswer


def _check_hashtags(tags: list[str]) -> list[str]:
    if not 1 <= len(tags) <= 10:
        raise ValueError("there must be 1 to 10 hashtags")
    for tag in tags:
        if not re.fullmatch(r"#\w{1,50}", tag):
            raise ValueError(f"{tag[:60]!r} is not a hashtag: one word after a '#'")
    return list(dict.fromkeys(tags))


CaptionText = Annotated[str, bounded_text(500)]
Hashtags = Annotated[list[str], AfterValidator(_check_hashtags)]


class Caption(BaseModel, extra="forbid"):
    """The text that is posted with a film."""

    caption: CaptionText
    hashtags: Hashtags


async def write_caption(
    model: BaseChatModel, brief: str, title: str, ideas: Sequence[Idea], *, previous: str = "", comment: str = ""
) -> ModelAnswer[Caption]:
    """Return a caption for the film of these ideas; with a comment, a different one than `previous`.

    Raises the errors of `ask_structured`.
    """
    request = prompt("caption", brief=brief, title=title, ideas=ideas, previous=previous, comment=comment)
    return await ask_structured(model, request, Caption)
