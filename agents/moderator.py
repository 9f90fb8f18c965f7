"""The moderator: the language model judges texts where no moderation service does (`MODERATION=model`)."""

from collections.abc import Sequence
from typing import Literal

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, StrictBool

from agents.structured import ask_structured
from prompts.templates import prompt
from providers.orders import ModelAnswer


class ModerationAnswer(BaseModel, extra="forbid"):
    """The judgement whether any of the texts must not be used, and why."""

    flagged: StrictBool
    categories: list[Literal["sexual", "hate", "harassment", "self-harm", "violence", "illicit"]]


async def moderate(model: BaseChatModel, texts: Sequence[str]) -> ModelAnswer[ModerationAnswer]:
    """Return the judgement of the texts. Raises as `ask_structured` does: then no text is allowed."""
    return await ask_structured(model, prompt("moderation", texts=texts), ModerationAnswer)
