"""Chat models behind the chat completions API, and their errors as provider errors."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from langchain_core.messages import AIMessage, AnyMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from providers.base import ProviderError, Refused, Unavailable
from providers.http import endpoint_label
from providers.values import is_error_code

SERVICE_NAME = "The language model"
OPENAI_HOST = "api.openai.com"
_RETRYABLE_STATUSES = (408, 409, 425, 429)


def chat_model(
    *,
    base_url: str,
    api_key: str,
    model: str,
    http_async_client: httpx2.AsyncClient,
    timeout: float,
    max_retries: int = 2,
) -> ChatOpenAI:
    """Return a chat model at `base_url`, independent of environment variables. `timeout` is seconds per call.

    `http_async_client` belongs to the running event loop and is closed by the caller: the library's own client is
    shared by all models and fails in a second loop. Servers other than OpenAI's support chat completions only.
    """
    return ChatOpenAI(
        base_url=base_url,
        api_key=SecretStr(api_key),
        model=model,
        http_async_client=http_async_client,
        timeout=timeout,
        max_retries=max_retries,
        use_responses_api=None if urlsplit(base_url).hostname == OPENAI_HOST else False,
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


@asynccontextmanager
async def model_errors() -> AsyncIterator[None]:
    """Convert the errors of a chat model call to Unavailable (retry later) or Refused (do not retry unchanged).

    Put only the call in the block: the library raises a bare ValueError or TypeError for a malformed response.
    Valid responses with unwanted content (OutputParserException, ValidationError) are not converted.
    """
    try:
        yield
    except (openai.APIError, httpx2.HTTPError, TimeoutError) as error:
        raise _convert_api_error(error) from error
    except openai.LengthFinishReasonError as error:
        raise Refused("model_answer_too_long", "The language model's answer exceeds the token limit.") from error
    except openai.ContentFilterFinishReasonError as error:
        raise Refused("model_content_filter", "The language model's provider withheld the answer.") from error
    except (ValueError, TypeError) as error:
        if type(error) not in (ValueError, TypeError, json.JSONDecodeError):
            raise
        raise Unavailable("model_unexpected_response", "The language model sent a malformed response.") from error


def _name(error: Any) -> str:
    """Return the name of the language model with the host of its server, as far as the error contains it."""
    try:
        url = str(error.request.url)
    except (AttributeError, RuntimeError):
        return SERVICE_NAME
    return f"{SERVICE_NAME} ({endpoint_label(url).partition('/')[0]})"


def _convert_api_error(error: Exception) -> ProviderError:
    if not isinstance(error, openai.APIStatusError):
        return Unavailable("model_unavailable", f"{_name(error)} did not respond.")
    status = error.status_code
    if status in _RETRYABLE_STATUSES or status >= 500:
        code = "model_rate_limited" if status == 429 else "model_unavailable"
        return Unavailable(code, f"{_name(error)} did not respond (HTTP {status}).")
    code = error.code if is_error_code(error.code) else "model_refused"
    return Refused(code, f"{_name(error)} refused the request (HTTP {status}).")
