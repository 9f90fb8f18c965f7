"""The language model, by the chat completions contract at a base URL, and its errors in our words."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx2
import openai
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from providers.base import Refused, Unavailable

OPENAI_HOST = "api.openai.com"


def chat_model(
    *,
    base_url: str,
    api_key: str,
    model: str,
    http_async_client: httpx2.AsyncClient,
    timeout: float,
    max_retries: int = 2,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> ChatOpenAI:
    """A chat model at `base_url`, whatever the environment says. `timeout` is seconds for one call.

    `http_async_client` belongs to the running event loop and is closed by the caller: the library's own is
    shared by all models and fails in a second loop. Other servers than OpenAI's know chat completions only.
    """
    return ChatOpenAI(
        base_url=base_url,
        api_key=SecretStr(api_key),
        model=model,
        http_async_client=http_async_client,
        timeout=timeout,
        max_retries=max_retries,
        temperature=temperature,
        max_completion_tokens=max_tokens,
        use_responses_api=None if urlsplit(base_url).hostname == OPENAI_HOST else False,
        stream_usage=True,  # off by itself at any other base URL, and without it nothing can be accounted for
        stream_chunk_timeout=timeout,
        openai_proxy=None,
        http_socket_options=(),
    )


@asynccontextmanager
async def model_errors() -> AsyncIterator[None]:
    """Turn what a call to a chat model raises into Unavailable (ask again later) or Refused (not as it is).

    Hold nothing but the call in it: the library raises a bare ValueError or TypeError for a senseless answer.
    Answers that mean something else than was wanted (OutputParserException, ValidationError) pass through.
    """
    try:
        yield
    except openai.LengthFinishReasonError as error:
        raise Refused("model_answer_too_long", "The language model's answer was cut at its limit.") from error
    except openai.ContentFilterFinishReasonError as error:
        raise Refused("model_content_filter", "The language model's provider withheld the answer.") from error
    except openai.APIStatusError as error:
        if error.status_code in (408, 409, 425, 429) or error.status_code >= 500:
            code = "model_rate_limited" if error.status_code == 429 else "model_unavailable"
            raise Unavailable(code, f"The language model did not answer (HTTP {error.status_code}).") from error
        known = re.fullmatch(r"[a-z][a-z0-9_]{0,63}", error.code or "")
        raise Refused(
            str(error.code) if known else "model_refused",
            f"The language model refused the question (HTTP {error.status_code}).",
        ) from error
    except (openai.APIError, httpx2.HTTPError, TimeoutError) as error:
        raise Unavailable("model_unavailable", "The language model did not answer.") from error
    except (ValueError, TypeError) as error:
        if type(error) not in (ValueError, TypeError, json.JSONDecodeError):
            raise
        raise Unavailable("model_odd_answer", "The language model's answer means nothing.") from error
