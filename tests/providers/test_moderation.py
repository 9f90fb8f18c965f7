"""Moderation gives a result for every text, or is unavailable."""

import json
from typing import Any

import httpx
import pytest

from providers.base import Unavailable
from providers.moderation import Moderation, ModerationResult
from tests.providers.stub_server import Respond

KEY, MODEL = "sk-very-secret", "any-moderation"


def text_result(flagged: Any = False, **categories: Any) -> dict[str, Any]:
    return {"flagged": flagged, "categories": {"violence": False, "hate": False} | categories, "category_scores": {}}


def create_moderation(respond: Respond) -> Moderation:
    return Moderation("http://moderation/v1", KEY, httpx.AsyncClient(transport=httpx.MockTransport(respond)), MODEL)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([text_result(), text_result()], ModerationResult(False, [])),
        ([text_result(), text_result(True, violence=True)], ModerationResult(True, ["violence"])),
        (
            [text_result(True, violence=True), text_result(True, hate=True, violence=True)],
            ModerationResult(True, ["hate", "violence"]),
        ),
        ([text_result(True), text_result()], ModerationResult(True, [])),
        ([text_result(False, hate=True), text_result()], ModerationResult(True, ["hate"])),
    ],
)
async def test_a_flagged_text_or_category_flags_all(results: list[Any], expected: ModerationResult) -> None:
    """One flagged text is enough, and so is one category that applies, whatever `flagged` is."""
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"id": "modr-1", "results": results})

    assert await create_moderation(respond).check(["a fox", "", "  ", "a bear"]) == expected
    assert json.loads(requests[0].content) == {"model": MODEL, "input": ["a fox", "a bear"]}
    assert (str(requests[0].url), requests[0].headers["authorization"]) == (
        "http://moderation/v1/moderations",
        f"Bearer {KEY}",
    )


async def test_blank_texts_send_no_request() -> None:
    """Blank texts are never flagged."""
    assert await create_moderation(lambda request: httpx.Response(500)).check(["", " \n"]) == ModerationResult(
        False, []
    )


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("no"),
        httpx.ReadTimeout("no"),
        httpx.Response(429),
        httpx.Response(401),
        httpx.Response(500, json={"results": [text_result()]}),
        httpx.Response(302, headers={"location": "http://evil/"}),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"results": []}),
        httpx.Response(200, json={"results": [text_result(), text_result()]}),
        httpx.Response(200, json={"results": ["fine"]}),
        httpx.Response(200, json={"results": [text_result("false")]}),
        httpx.Response(200, json={"results": [{"flagged": False}]}),
        httpx.Response(200, json={"results": [{"categories": {}}]}),
    ],
)
async def test_an_unclear_result_is_unavailable(answer: httpx.Response | Exception) -> None:
    """Anything but one valid result per text is unavailable: no text is allowed by mistake."""

    def respond(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(Unavailable):
        await create_moderation(respond).check(["a fox"])
