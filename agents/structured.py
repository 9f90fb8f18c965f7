"""Structured output of a language model: validated, repaired once, and never taken from a truncated answer."""

from typing import TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from pydantic import BaseModel, ValidationError

from prompts.templates import Prompt
from prompts.validation import describe_errors
from providers.base import ProviderError
from providers.chat_models import model_errors, tokens_of
from providers.orders import ModelAnswer


class AnswerError(ProviderError):
    """A model's answer cannot be used."""


T = TypeVar("T", bound=BaseModel)


async def ask_structured(model: BaseChatModel, prompt: Prompt, schema: type[T]) -> ModelAnswer[T]:
    """Return the model's answer as a `schema`. One invalid answer is sent back with its errors.

    Raises:
        AnswerError: `model_answer_cut`, `model_refused` or `model_answer_invalid`.
        Refused: The model server refused the request or withheld the answer (`model_answer_too_long`,
            `model_content_filter`, …).
        Unavailable: The model server did not answer.
    """
    json_schema = {"name": schema.__name__, "schema": schema.model_json_schema(), "strict": True}
    bound = model.bind(response_format={"type": "json_schema", "json_schema": json_schema})
    messages: list[AnyMessage] = [SystemMessage(prompt.system), HumanMessage(prompt.request)]
    tokens, faults = (0, 0), ""
    for _ in range(2):
        async with model_errors():
            answer = await bound.ainvoke(messages)
        used = tokens_of(answer, messages)
        tokens = (tokens[0] + used[0], tokens[1] + used[1])
        check_complete(answer)
        try:
            value = schema.model_validate_json(str(answer.text))
            return ModelAnswer(value, *tokens)
        except ValidationError as error:
            faults = describe_errors(error.errors(), limit=5)
        messages += [answer, HumanMessage(f"That answer is invalid: {faults}. Send a corrected answer.")]
    raise AnswerError("model_answer_invalid", f"The model's answer was invalid twice: {faults}.")


def check_complete(answer: AIMessage) -> None:
    """Raise AnswerError for an answer that was refused or truncated.

    A stream that breaks off ends without a finish reason: its text may even parse, and must not be used.
    """
    reason = answer.response_metadata.get("finish_reason")
    if answer.additional_kwargs.get("refusal") or reason == "content_filter":
        raise AnswerError("model_refused", "The model refused to answer.")
    if reason not in ("stop", "tool_calls"):
        raise AnswerError("model_answer_cut", "The model's answer was cut off before its end.")
