"""Chat models behind the chat completions API, and their errors as provider errors."""

import asyncio
import json
import re
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from providers.base import ProviderError, Refused, Unavailable
from providers.http import endpoint_label
from providers.values import one_line, read_error

SERVICE_NAME = "The language model"
OPENAI_HOST = "api.openai.com"
_RETRYABLE_STATUSES = (408, 409, 425, 429)
#: Words in the error of a server that does not support the form of an answer.
_FORM_WORDS = re.compile("response_format|json_schema|json_object|json schema|grammar|structured|guided", re.IGNORECASE)
#: What the library raises for a response that is no chat completion.
_MALFORMED = (ValueError, TypeError, AttributeError, KeyError, IndexError, json.JSONDecodeError)

# The library advises those who call it otherwise.
warnings.filterwarnings("ignore", "(This model does not support|Invalid schema for) OpenAI's structured output")


class _ChatModel(ChatOpenAI):
    """A chat model of any server. It keeps the reasoning, in which some servers send the whole answer."""

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        for choice, generation in zip(response.choices, result.generations, strict=True):
            extra = choice.message.model_extra or {}
            reasoning = extra.get("reasoning_content") or extra.get("reasoning")
            generation.message.additional_kwargs["reasoning"] = reasoning if isinstance(reasoning, str) else ""
        return result


def chat_model(
    *,
    base_url: str,
    api_key: str,
    model: str,
    http_async_client: httpx2.AsyncClient,
    timeout: float,
    max_tokens: int,
    max_retries: int = 2,
) -> ChatOpenAI:
    """Return a chat model at `base_url`, independent of environment variables.

    `timeout` is seconds per call, and `max_tokens` the limit of an answer, a model's thoughts included.
    `http_async_client` belongs to the running event loop and is closed by the caller: the library's own client is
    shared by all models and fails in a second loop. Servers other than OpenAI's support chat completions only.
    """
    is_openai = urlsplit(base_url).hostname == OPENAI_HOST
    # Other servers know the limit of tokens by its former name, and some refuse the new one.
    limit: dict[str, Any] = {"max_tokens": max_tokens} if is_openai else {"extra_body": {"max_tokens": max_tokens}}
    return _ChatModel(
        **limit,
        base_url=base_url,
        api_key=SecretStr(api_key),
        model=model,
        http_async_client=http_async_client,
        timeout=timeout,
        max_retries=max_retries,
        use_responses_api=None if is_openai else False,
        stream_usage=True,  # by default off at other base URLs; token usage cannot be recorded without it
        stream_chunk_timeout=timeout,
        openai_proxy=None,
        http_socket_options=(),
    )


def tokens_of(answer: AIMessage, request: Sequence[AnyMessage]) -> tuple[int, int]:
    """Return the input and output tokens of an answer, estimated from the texts if the server reports none."""
    usage = answer.usage_metadata
    if usage and usage["total_tokens"]:
        return usage["input_tokens"], usage["output_tokens"]
    return estimate_tokens(request), estimate_tokens([answer])


def estimate_tokens(messages: Sequence[AnyMessage]) -> int:
    """Return about how many tokens the messages have: one for three bytes."""
    calls = [call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]
    return sum(len(str(each).encode()) // 3 + 4 for each in [*(message.text for message in messages), *calls])


class FormatRefused(Refused):
    """The server refuses a request, perhaps only because of the form that it requires of the answer."""


def server_of(model: BaseChatModel) -> tuple[str, str]:
    """Return the base URL and the name of a model."""
    return str(getattr(model, "openai_api_base", "")), str(getattr(model, "model_name", ""))


@asynccontextmanager
async def model_errors(model: BaseChatModel) -> AsyncIterator[None]:
    """Convert the errors of a call of the model to Unavailable (retry later) or Refused (do not retry unchanged).

    The call, with its retries, has the time limit of the model. Put only the call in the block: the library raises
    bare errors for a malformed response. Those of unwanted content (OutputParserException, …) are not converted.
    """
    host = endpoint_label(server_of(model)[0]).partition("/")[0]
    service, seconds = f"{SERVICE_NAME} ({host})", float(getattr(model, "request_timeout", None) or 120)
    try:
        async with asyncio.timeout(seconds):
            yield
    except (TimeoutError, openai.APITimeoutError, httpx2.TimeoutException) as error:
        message = f"{service} did not answer within the {seconds:g} seconds of OPENAI_TIMEOUT_SECONDS."
        raise Unavailable("model_unavailable", message) from error
    except openai.APIStatusError as error:
        raise _convert_status(error, service, model) from error
    except (openai.APIError, httpx2.HTTPError) as error:
        raise Unavailable("model_unavailable", f"{service} did not respond. Check OPENAI_BASE_URL.") from error
    except openai.LengthFinishReasonError as error:
        message = f"{service} reached the token limit of the answer. Raise OPENAI_MAX_TOKENS."
        raise Refused("model_answer_too_long", message) from error
    except openai.ContentFilterFinishReasonError as error:
        raise Refused("model_content_filter", f"{service} withheld the answer.") from error
    except _MALFORMED as error:
        if type(error) not in _MALFORMED:
            raise
        message = f"{service} sent something other than a chat completion. Check OPENAI_BASE_URL: most end in /v1."
        raise Unavailable("model_unexpected_response", message) from error


def _convert_status(error: openai.APIStatusError, service: str, model: BaseChatModel) -> ProviderError:
    status, (code, message) = error.status_code, read_error(error.body)
    names_form = status != 429 and _FORM_WORDS.search(error.response.text)
    if not names_form and (status in _RETRYABLE_STATUSES or status >= 500):
        code = "model_rate_limited" if status == 429 else "model_unavailable"
        return Unavailable(code, f"{service} did not respond (HTTP {status}).")
    kind = FormatRefused if names_form or (code is None and status in (400, 415, 422)) else Refused
    return kind(code or "model_refused", f"{service} {_describe_refusal(status, message, server_of(model)[1])}")


def _describe_refusal(status: int, message: str, model: str) -> str:
    if status in (401, 403):
        # The server's own message is not repeated: some servers quote the key in it.
        return f"refused the request (HTTP {status}). Check OPENAI_API_KEY."
    if status == 404:
        return f"has no model {model} (HTTP 404). Check OPENAI_MODEL and OPENAI_BASE_URL."
    reason = one_line(message).rstrip(".") or "no reason given"
    return f"refused the request (HTTP {status}): {reason}. Check OPENAI_MODEL."
