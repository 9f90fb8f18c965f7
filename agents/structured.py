"""Structured output of any language model server: read in any form, validated, and repaired once.

An answer is requested by its JSON schema, or, where a server refuses or ignores that, as a JSON object or as text with
the schema in words. A truncated answer is never used.
"""

import json
import re
from contextlib import suppress
from functools import reduce
from operator import getitem
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import AfterValidatorFunctionSchema

from prompts.templates import Prompt
from prompts.validation import describe_errors
from providers.base import ProviderError
from providers.chat_models import FormatRefused, model_errors, server_of, tokens_of
from providers.orders import ModelAnswer

#: The forms in which an answer is requested, from the strictest to the one that every server supports.
FORMS = ("json_schema", "json_object", "text")
#: The position of the form that a server and its model have answered in.
_known_forms: dict[tuple[str, str], int] = {}
#: Parts of finish reasons, which servers spell differently, of an answer that was cut off, or withheld.
CUT = re.compile("length|max|limit|error|abort|cancel|interrupt|time.?out|incomplete|insufficient|trunc|malformed")
WITHHELD = re.compile("filter|safety|refus|recitation|block|prohibit|spii|guardrail|sensitive|moderat")
#: The end of a model's thoughts, in the marks of different models.
END_OF_THOUGHTS = re.compile(r"</think(?:ing)?>|</reasoning>|\[/THINK\]|<\|message\|>")


class _WithLengths(GenerateJsonSchema):
    """Adds the lengths of texts to a JSON schema."""

    def function_after_schema(self, schema: AfterValidatorFunctionSchema) -> dict[str, Any]:
        """Return the JSON schema of a text with its lengths."""
        lengths: dict[str, Any] = schema.get("metadata", {}).get("lengths", {})
        return super().function_after_schema(schema) | lengths


class AnswerError(ProviderError):
    """A model's answer cannot be used."""


T = TypeVar("T", bound=BaseModel)


def form_of(model: BaseChatModel) -> str:
    """Return the form in which the model's server has answered in this process, at first the strictest."""
    return FORMS[_known_forms.get(server_of(model), 0)]


async def ask_structured(model: BaseChatModel, prompt: Prompt, schema: type[T]) -> ModelAnswer[T]:
    """Return the model's answer as a `schema`. One invalid answer is sent back with its errors.

    Raises:
        AnswerError: `model_answer_cut`, `model_refused` or `model_answer_invalid`.
        Refused: The model server refused the request or withheld the answer (`model_answer_too_long`,
            `model_content_filter`, …).
        Unavailable: The model server did not answer.
    """
    messages: list[AnyMessage] = [SystemMessage(prompt.system), HumanMessage(prompt.request)]
    tokens, faults, form = (0, 0), "", _known_forms.get(server_of(model), 0)
    for is_repair in (False, True):
        answer, form = await _ask(model, messages, schema, form, with_lengths=is_repair)
        used = tokens_of(answer, messages)
        tokens = (tokens[0] + used[0], tokens[1] + used[1])
        # A JSON object that ends is complete, whether the server gives a reason for its end or not.
        check_complete(answer, needs_reason=False)
        try:
            value = _read(str(answer.text or answer.additional_kwargs.get("reasoning", "")), schema)
        except ValidationError as error:
            faults = describe_errors(error.errors(), limit=5)
            # A value that is too long, or of which there are too many, can come from a server that applies the schema.
            if any(re.search("missing|json|_type", fault["type"]) for fault in error.errors()):
                form = min(form + 1, len(FORMS) - 1)
            messages += [answer, HumanMessage(f"That answer is invalid: {faults}. Send a corrected answer.")]
        else:
            _known_forms[server_of(model)] = form
            return ModelAnswer(value, *tokens)
    raise AnswerError("model_answer_invalid", f"The model's answer was invalid twice: {faults}.")


async def _ask(
    model: BaseChatModel, messages: list[AnyMessage], schema: type[BaseModel], form: int, *, with_lengths: bool
) -> tuple[AIMessage, int]:
    """Return the answer in the first form from this one on that the server does not refuse, and that form."""
    first = form
    while True:
        request, options = _request(messages, schema, form, with_lengths=with_lengths)
        try:
            async with model_errors(model):
                answer = await model.ainvoke(request, **options)
        except FormatRefused:
            if not options:
                raise
            if form == 0 and with_lengths:  # a strict server refuses lengths, and keeps the form
                with_lengths = False
            else:
                form += 1
        else:
            if form > first:
                _known_forms[server_of(model)] = form
            return answer, form


def _request(
    messages: list[AnyMessage], schema: type[BaseModel], form: int, *, with_lengths: bool
) -> tuple[list[AnyMessage], dict[str, Any]]:
    """Return the messages and options that request an answer in this form. A small model needs the lengths of texts."""
    generator = _WithLengths if form or with_lengths else GenerateJsonSchema
    json_schema = schema.model_json_schema(schema_generator=generator)
    if form == 0:
        strict = {"name": schema.__name__, "schema": json_schema, "strict": True}
        return messages, {"response_format": {"type": "json_schema", "json_schema": strict}}
    words = f"Answer with one JSON object only. It is valid under this JSON schema:\n{json.dumps(json_schema)}"
    stated: list[AnyMessage] = [SystemMessage(f"{messages[0].text}\n\n{words}"), *messages[1:]]
    return stated, {"response_format": {"type": "json_object"}} if form == 1 else {}


def _read(text: str, schema: type[T]) -> T:
    """Return the last valid JSON object after the model's thoughts, in any other text. Raises ValidationError."""
    text, objects, end = END_OF_THOUGHTS.split(text)[-1], list[Any](), 0
    while (start := text.find("{", end)) >= 0:
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text, start)
            objects.append(value)
        except (ValueError, RecursionError):
            end = start + 1
    for value in reversed(objects[1:]):
        with suppress(ValidationError):
            return _validate(value, schema)
    return _validate(objects[0], schema) if objects else schema.model_validate_json("")


def _validate(value: Any, schema: type[T]) -> T:
    """Return the value as a `schema`, without fields that it does not have, and with "" for a text that is null."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        for fault in error.errors():
            *path, name = fault["loc"]
            if fault["type"] == "extra_forbidden":
                del reduce(getitem, path, value)[name]
            elif fault["type"] == "string_type" and fault["input"] is None:
                reduce(getitem, path, value)[name] = ""
        return schema.model_validate(value)


def check_complete(answer: AIMessage, *, needs_reason: bool = True) -> None:
    """Raise AnswerError for an answer that was refused or truncated."""
    reason = str(answer.response_metadata.get("finish_reason") or "").lower()
    if answer.additional_kwargs.get("refusal") or WITHHELD.search(reason):
        raise AnswerError("model_refused", "The model refused to answer.")
    # A stream that breaks off ends without a finish reason: its text may even parse, and must not be used.
    if CUT.search(reason) or (needs_reason and not reason):
        message = "The model's answer was cut off before its end. Raise OPENAI_MAX_TOKENS or change OPENAI_MODEL."
        raise AnswerError("model_answer_cut", message)
