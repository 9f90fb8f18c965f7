"""Ask a model for a typed answer: checked, repaired once, and never taken from a cut answer."""

from __future__ import annotations

from typing import TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from pydantic import AfterValidator, BaseModel, ValidationError

from prompts.templates import Prompt
from providers.base import ProviderError
from providers.chat_models import model_errors
from providers.orders import ModelAnswer


class AnswerError(ProviderError):
    """A model's answer cannot be used."""


T = TypeVar("T", bound=BaseModel)


async def ask_structured(model: BaseChatModel, prompt: Prompt, schema: type[T]) -> ModelAnswer[T]:
    """The model's answer as a `schema`. One answer that does not fit is sent back with what is wrong with it.

    Raises AnswerError (`model_answer_cut`, `model_refused`, `model_answer_invalid`), Refused when the model server
    refuses the question or holds back the answer (`model_answer_too_long`, `model_content_filter`, …), and
    Unavailable when it does not answer.
    """
    form = {"name": schema.__name__, "schema": schema.model_json_schema(), "strict": True}
    bound = model.bind(response_format={"type": "json_schema", "json_schema": form})
    messages: list[BaseMessage] = [SystemMessage(prompt.system), HumanMessage(prompt.request)]
    spent = [0, 0]
    complaint = ""
    for _ in range(2):
        async with model_errors():
            raw = await bound.ainvoke(messages)
        _count(raw, spent)
        check_complete(raw)
        try:
            return ModelAnswer(schema.model_validate_json(str(raw.text)), *spent)
        except ValidationError as error:
            complaint = _complaint(error)
        messages += [raw, HumanMessage(f"That answer does not fit: {complaint}. Answer again, corrected.")]
    raise AnswerError("model_answer_invalid", f"The model's answer did not fit, twice: {complaint}.")


def _complaint(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False)[:5]
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'answer'}: {fault['msg']}" for fault in faults)


def check_complete(raw: AIMessage) -> None:
    """A stream that broke off ends without a reason: what came of it may even parse, and is worth nothing."""
    reason = raw.response_metadata.get("finish_reason")
    if raw.additional_kwargs.get("refusal") or reason == "content_filter":
        raise AnswerError("model_refused", "The model refused to answer.")
    if reason not in ("stop", "tool_calls"):
        raise AnswerError("model_answer_cut", "The model's answer was cut off before its end.")


def _count(raw: AIMessage, spent: list[int]) -> None:
    if raw.usage_metadata:
        spent[0] += raw.usage_metadata["input_tokens"]
        spent[1] += raw.usage_metadata["output_tokens"]


def clean_text(text: str) -> str:
    """Text that every table and checkpoint can hold: no NUL, no lone surrogate, no white space around it."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode().strip()


def bounded_text(limit: int, *, minimum: int = 1) -> AfterValidator:
    """A rule for text of `minimum` to `limit` characters.

    It is checked here and not in the JSON schema, because strict model servers refuse schemas with string limits.
    """

    def check(text: str) -> str:
        text = clean_text(text)
        if not minimum <= len(text) <= limit:
            raise ValueError(f"must have {minimum} to {limit} characters, not {len(text)}")
        return text

    return AfterValidator(check)
