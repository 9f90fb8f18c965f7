"""A chat model answers, or fails as unavailable or refused."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import openai
import pytest
from langchain_core.exceptions import OutputParserException

from providers.base import ProviderError, Refused, Unavailable
from providers.chat_models import FormatRefused, chat_model, model_errors

KEY = "sk-very-secret"
ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Y"}}]}\n\n'


def create_model(
    respond: Callable[[httpx2.Request], httpx2.Response], base_url: str = "http://model/v1", **overrides: Any
) -> Any:
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
    options = {"timeout": 5.0, "max_tokens": 100, "max_retries": 0} | overrides
    return chat_model(base_url=base_url, api_key=KEY, model="m", http_async_client=client, **options)


MODEL = create_model(lambda request: httpx2.Response(200))


async def test_environment_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """No environment variable changes the address or the key of a request."""
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_PROXY", "LANGSMITH_GATEWAY_URL"):
        monkeypatch.setenv(name, "http://evil/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "evil")
    monkeypatch.setenv("LANGSMITH_GATEWAY", "true")
    requests: list[httpx2.Request] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(200, json=ANSWER)

    async with model_errors(MODEL):
        answer = await create_model(respond).ainvoke("Is it?")

    assert (answer.text, answer.usage_metadata["total_tokens"]) == ("Yes.", 5)
    assert str(requests[0].url) == "http://model/v1/chat/completions"
    assert requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_stream_requests_its_token_usage() -> None:
    """A stream requests its usage at every base URL."""
    requests: list[dict[str, Any]] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        requests.append(json.loads(request.content))
        return httpx2.Response(200, content=CHUNK + b"data: [DONE]\n\n", headers={"content-type": "text/event-stream"})

    chunks = [chunk.text async for chunk in create_model(respond).astream("Is it?")]

    assert "".join(chunks) == "Y"
    assert requests[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("base_url", "name"),
    [("http://model/v1", "max_tokens"), ("http://openai.com.evil/v1", "max_tokens"),
     ("https://api.openai.com/v1", "max_completion_tokens")],
)  # fmt: skip
async def test_the_token_limit_has_the_name_that_the_server_knows(base_url: str, name: str) -> None:
    """OpenAI refuses one name for its newer models, and other servers refuse the other."""
    requests: list[dict[str, Any]] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        requests.append(json.loads(request.content))
        return httpx2.Response(200, json=ANSWER)

    await create_model(respond, base_url).ainvoke("Is it?")

    assert {key: value for key, value in requests[0].items() if key.startswith("max")} == {name: 100}


@pytest.mark.parametrize(("base_url", "expected"), [("http://model/v1", False), ("https://api.openai.com/v1", None)])
def test_only_openai_can_use_the_responses_api(base_url: str, expected: bool | None) -> None:
    """Any other server receives chat completions, whatever the model's name."""
    assert create_model(lambda request: httpx2.Response(200), base_url).use_responses_api is expected


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (httpx2.ConnectError("no"), Unavailable, "model_unavailable"),
        (httpx2.ReadTimeout("no"), Unavailable, "model_unavailable"),
        (httpx2.ReadError("no"), Unavailable, "model_unavailable"),
        (httpx2.Response(429, json={"error": {"code": "rate"}}), Unavailable, "model_rate_limited"),
        (httpx2.Response(408), Unavailable, "model_unavailable"),
        (httpx2.Response(500, content=b"<html>"), Unavailable, "model_unavailable"),
        (httpx2.Response(503), Unavailable, "model_unavailable"),
        (httpx2.Response(200, content=b"<html>", headers={"content-type": "text/html"}), Unavailable,
         "model_unexpected_response"),
        (httpx2.Response(200, content=b"{", headers={"content-type": "application/json"}), Unavailable,
         "model_unexpected_response"),
        (httpx2.Response(200, json={}), Unavailable, "model_unexpected_response"),
        (httpx2.Response(400, json={"error": {"code": "context_length_exceeded", "message": "?"}}), Refused,
         "context_length_exceeded"),
        (httpx2.Response(400, json={"error": {"code": "Not A Code"}}), Refused, "not_a_code"),
        (httpx2.Response(400, json={"error": {"message": "No."}}), FormatRefused, "model_refused"),
        (httpx2.Response(200, json={"choices": []}), Unavailable, "model_unexpected_response"),
        (httpx2.Response(200, json={"choices": [{}]}), Unavailable, "model_unexpected_response"),
        (httpx2.Response(200, json={"choices": [{"message": None}]}), Unavailable, "model_unexpected_response"),
        (httpx2.Response(200, json={"error": {"message": "Overloaded"}}), Unavailable, "model_unexpected_response"),
        (httpx2.Response(401, json={"error": {"code": None, "message": f"bad {KEY}"}}), Refused, "model_refused"),
        (httpx2.Response(403), Refused, "model_refused"),
        (httpx2.Response(404, content=b"<html>"), Refused, "model_refused"),
    ],
)  # fmt: skip
async def test_each_failure_is_unavailable_or_refused(
    answer: httpx2.Response | Exception, error: type[ProviderError], code: str
) -> None:
    """A request without a response can be retried; one that was refused cannot."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(ProviderError) as caught:
        async with model_errors(MODEL):
            await create_model(respond).ainvoke("Is it?")

    assert (type(caught.value), caught.value.code) == (error, code)
    assert KEY not in caught.value.message


class InterruptedStream(httpx2.AsyncByteStream):
    """A stream that fails after its first chunk."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield CHUNK
        raise httpx2.ReadError("cut")


@pytest.mark.parametrize(
    "content", [InterruptedStream(), CHUNK + b'data: {"error":{"message":"boom"}}\n\n', b"data: <html>\n\n", b""]
)
async def test_an_interrupted_stream_is_unavailable(content: Any) -> None:
    """A stream that ends with an error counts as no response."""
    body = {"stream": content} if isinstance(content, InterruptedStream) else {"content": content}
    headers = {"content-type": "text/event-stream"}
    chat = create_model(lambda request: httpx2.Response(200, headers=headers, **body))

    async def read_stream() -> list[str]:
        async with model_errors(MODEL):
            return [chunk.text async for chunk in chat.astream("Is it?")]

    with pytest.raises(Unavailable):
        await read_stream()


@pytest.mark.parametrize(
    ("finish_reason", "code"), [("length", "model_answer_too_long"), ("content_filter", "model_content_filter")]
)
async def test_an_incomplete_structured_answer_is_refused(finish_reason: str, code: str) -> None:
    """A structured answer that was cut off or withheld is refused, not parsed in part."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": '{"a'}}
    schema = {"title": "A", "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    chat = create_model(lambda request: httpx2.Response(200, json=ANSWER | {"choices": [choice]}))
    with pytest.raises(Refused) as caught:
        async with model_errors(MODEL):
            await chat.with_structured_output(schema).ainvoke("Is it?")

    assert caught.value.code == code


@pytest.mark.parametrize("error", [OutputParserException("no"), RuntimeError("no"), UnicodeError("no")])
async def test_other_errors_are_not_converted(error: Exception) -> None:
    """An error that does not come from the model is not hidden."""
    with pytest.raises(type(error)) as caught:
        async with model_errors(MODEL):
            raise error

    assert caught.value is error


async def test_the_number_of_retries_is_configurable() -> None:
    """The library retries a request as often as configured, and no more."""
    requests: list[httpx2.Request] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(500, headers={"retry-after-ms": "1"})

    with pytest.raises(openai.InternalServerError):
        await create_model(respond, max_retries=1).ainvoke("Is it?")

    assert len(requests) == 2
