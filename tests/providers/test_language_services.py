"""Moderation never guesses, and the language model answers, or fails in one of two ways."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import httpx2
import openai
import pytest
from langchain_core.exceptions import OutputParserException

from providers.base import ProviderError, Refused, Unavailable
from providers.chat_models import chat_model, model_errors
from providers.moderation import Moderation, Verdict

KEY = "sk-very-secret"


def judged(flagged: Any = False, **categories: Any) -> dict[str, Any]:
    return {"flagged": flagged, "categories": {"violence": False, "hate": False} | categories, "category_scores": {}}


def moderation(respond: Callable[[httpx.Request], httpx.Response]) -> Moderation:
    return Moderation("http://judge/v1", KEY, httpx.AsyncClient(transport=httpx.MockTransport(respond)))


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([judged(), judged()], Verdict(False, [])),
        ([judged(), judged(True, violence=True)], Verdict(True, ["violence"])),
        ([judged(True, violence=True), judged(True, hate=True, violence=True)], Verdict(True, ["hate", "violence"])),
        ([judged(True), judged()], Verdict(True, [])),
        ([judged(False, hate=True), judged()], Verdict(True, ["hate"])),
    ],
)
async def test_verdict(results: list[Any], verdict: Verdict) -> None:
    """One flagged text is enough; a category that hit counts, whatever the sum says."""
    asked: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"id": "modr-1", "results": results})

    assert await moderation(respond).check(["a fox", "", "  ", "a bear"]) == verdict
    assert json.loads(asked[0].content) == {"model": "omni-moderation-latest", "input": ["a fox", "a bear"]}
    assert (str(asked[0].url), asked[0].headers["authorization"]) == (
        "http://judge/v1/moderations",
        f"Bearer {KEY}",
    )


async def test_nothing_to_judge() -> None:
    """Blank texts say nothing, and nobody is asked about them."""
    assert await moderation(lambda request: httpx.Response(500)).check(["", " \n"]) == Verdict(False, [])


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("no"),
        httpx.ReadTimeout("no"),
        httpx.Response(429),
        httpx.Response(401),
        httpx.Response(500, json={"results": [judged()]}),
        httpx.Response(302, headers={"location": "http://evil/"}),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"results": []}),
        httpx.Response(200, json={"results": [judged(), judged()]}),
        httpx.Response(200, json={"results": ["fine"]}),
        httpx.Response(200, json={"results": [judged("false")]}),
        httpx.Response(200, json={"results": [{"flagged": False}]}),
        httpx.Response(200, json={"results": [{"categories": {}}]}),
    ],
)
async def test_an_unclear_judgement_is_none(answer: httpx.Response | Exception) -> None:
    """Anything but one plain judgement per text is unavailable: nothing is let through by mistake."""

    def respond(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(Unavailable):
        await moderation(respond).check(["a fox"])


# ---- the language model

ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Y"}}]}\n\n'


def model(respond: Callable[[httpx2.Request], httpx2.Response], base_url: str = "http://mind/v1", **more: Any) -> Any:
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
    given = {"timeout": 5.0, "max_retries": 0} | more
    return chat_model(base_url=base_url, api_key=KEY, model="m", http_async_client=client, **given)


async def test_it_goes_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the environment re-routes a question or changes its key."""
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_PROXY", "LANGSMITH_GATEWAY_URL"):
        monkeypatch.setenv(name, "http://evil/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "evil")
    monkeypatch.setenv("LANGSMITH_GATEWAY", "true")
    asked: list[httpx2.Request] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(200, json=ANSWER)

    async with model_errors():
        answer = await model(respond).ainvoke("Is it?")

    assert (answer.text, answer.usage_metadata["total_tokens"]) == ("Yes.", 5)
    assert str(asked[0].url) == "http://mind/v1/chat/completions"
    assert asked[0].headers["authorization"] == f"Bearer {KEY}"


async def test_tokens_are_told_in_a_stream() -> None:
    """A stream asks for its usage, also at a base URL of one's own."""
    asked: list[dict[str, Any]] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        asked.append(json.loads(request.content))
        return httpx2.Response(200, content=CHUNK + b"data: [DONE]\n\n", headers={"content-type": "text/event-stream"})

    pieces = [piece.text async for piece in model(respond).astream("Is it?")]

    assert "".join(pieces) == "Y"
    assert asked[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(("base_url", "expected"), [("http://mind/v1", False), ("https://api.openai.com/v1", None)])
def test_only_openai_may_be_asked_for_responses(base_url: str, expected: bool | None) -> None:
    """Any other server is spoken to by chat completions, whatever the model is called."""
    assert model(lambda request: httpx2.Response(200), base_url).use_responses_api is expected


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
         "model_odd_answer"),
        (httpx2.Response(200, content=b"{", headers={"content-type": "application/json"}), Unavailable,
         "model_odd_answer"),
        (httpx2.Response(200, json={}), Unavailable, "model_odd_answer"),
        (httpx2.Response(400, json={"error": {"code": "context_length_exceeded", "message": "?"}}), Refused,
         "context_length_exceeded"),
        (httpx2.Response(400, json={"error": {"code": "Not A Code"}}), Refused, "model_refused"),
        (httpx2.Response(401, json={"error": {"code": None, "message": f"bad {KEY}"}}), Refused, "model_refused"),
        (httpx2.Response(403), Refused, "model_refused"),
        (httpx2.Response(404, content=b"<html>"), Refused, "model_refused"),
    ],
)  # fmt: skip
async def test_what_became_of_a_question(
    answer: httpx2.Response | Exception, error: type[ProviderError], code: str
) -> None:
    """A question that was not answered can be asked again; one that was refused cannot, not as it is."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(ProviderError) as caught:
        async with model_errors():
            await model(respond).ainvoke("Is it?")

    assert (type(caught.value), caught.value.code) == (error, code)
    assert KEY not in caught.value.message


class Cut(httpx2.AsyncByteStream):
    """A stream that breaks after its first piece."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield CHUNK
        raise httpx2.ReadError("cut")


@pytest.mark.parametrize(
    "content", [Cut(), CHUNK + b'data: {"error":{"message":"boom"}}\n\n', b"data: <html>\n\n", b""]
)
async def test_a_stream_that_breaks(content: Any) -> None:
    """A stream that breaks loudly is a question not answered."""
    body = {"stream": content} if isinstance(content, Cut) else {"content": content}
    headers = {"content-type": "text/event-stream"}
    asked = model(lambda request: httpx2.Response(200, headers=headers, **body))

    async def listen() -> list[str]:
        async with model_errors():
            return [piece.text async for piece in asked.astream("Is it?")]

    with pytest.raises(Unavailable):
        await listen()


@pytest.mark.parametrize(
    ("finish_reason", "code"), [("length", "model_answer_too_long"), ("content_filter", "model_content_filter")]
)
async def test_a_form_that_was_not_filled(finish_reason: str, code: str) -> None:
    """An answer in a form that was cut or withheld is refused, not read as far as it goes."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": '{"a'}}
    schema = {"title": "A", "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    asked = model(lambda request: httpx2.Response(200, json=ANSWER | {"choices": [choice]}))
    with pytest.raises(Refused) as caught:
        async with model_errors():
            await asked.with_structured_output(schema).ainvoke("Is it?")

    assert caught.value.code == code


@pytest.mark.parametrize("error", [OutputParserException("no"), KeyError("no"), UnicodeError("no")])
async def test_other_errors_pass_through(error: Exception) -> None:
    """An error that is not the model's is nobody's to hide."""
    with pytest.raises(type(error)) as caught:
        async with model_errors():
            raise error

    assert caught.value is error


async def test_retries_are_as_asked() -> None:
    """The library repeats a question as often as it is told to, and no more."""
    asked: list[httpx2.Request] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(500, headers={"retry-after-ms": "1"})

    with pytest.raises(openai.InternalServerError):
        await model(respond, max_retries=1).ainvoke("Is it?")

    assert len(asked) == 2
