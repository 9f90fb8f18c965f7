"""Malformed requests: each API answers in its vendor's form of errors, and never with a 500."""

from __future__ import annotations

from typing import Any

import pytest
from sandbox_server import SandboxClient

OPENAI, KLING, REPLICATE, HIGGSFIELD = {"error"}, {"code", "message"}, {"title", "status", "detail"}, {"detail"}
MESSAGES = [{"role": "user", "content": "Rain"}]
LOOP = {"type": "json_schema", "json_schema": {"name": "Loop", "schema": {"$ref": "#"}}}
REPLICATE_MODEL = "/replicate/v1/models/google/veo-3.1/predictions"
HIGGSFIELD_MODEL = "/higgsfield/alibaba/wan-3.0/text-to-video"


@pytest.mark.parametrize(
    ("path", "body", "status", "form"),
    [
        ("/v1/videos", [1], 400, OPENAI),
        ("/v1/videos", {"prompt": "A", "input_reference": {}}, 400, OPENAI),
        ("/v1/chat/completions", {"messages": MESSAGES}, 400, OPENAI),
        ("/v1/chat/completions", {"model": "m", "messages": []}, 400, OPENAI),
        ("/v1/chat/completions", {"model": "m", "messages": MESSAGES, "tools": [1]}, 400, OPENAI),
        ("/v1/chat/completions", {"model": "m", "messages": MESSAGES, "response_format": "json"}, 400, OPENAI),
        ("/v1/chat/completions", {"model": "m", "messages": [{"content": "A"}]}, 400, OPENAI),
        ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": 5}]}, 400, OPENAI),
        ("/v1/chat/completions", {"model": "m", "messages": MESSAGES, "tools": [{"function": {}}]}, 400, OPENAI),
        ("/v1/chat/completions", {"model": "m", "messages": MESSAGES, "response_format": LOOP}, 400, OPENAI),
        ("/v1/moderations", {}, 400, OPENAI),
        ("/v1/moderations", {"input": []}, 400, OPENAI),
        ("/v1/webhook_endpoints", {"url": "ftp://example.com"}, 400, OPENAI),
        ("/v1/webhook_endpoints", {"url": "http://example.com", "event_types": []}, 400, OPENAI),
        ("/kling/text-to-video/kling-3.0", [1], 400, KLING),
        ("/kling/text-to-video/kling-3.0", {"prompt": "A", "settings": 1}, 400, KLING),
        ("/kling/text-to-video/kling-3.0", {"prompt": "A", "settings": {"duration": "5"}}, 400, KLING),
        ("/kling/image-to-video/kling-3.0", {"contents": 1}, 400, KLING),
        (REPLICATE_MODEL, {"input": 1}, 422, REPLICATE),
        (REPLICATE_MODEL, {"input": {"prompt": "A", "image": 5}}, 422, REPLICATE),
        (REPLICATE_MODEL, {"input": {"prompt": "A", "colour": "red"}}, 422, REPLICATE),
        (HIGGSFIELD_MODEL, {"prompt": 1, "resolution": "720p"}, 422, HIGGSFIELD),
        (HIGGSFIELD_MODEL, {"prompt": "A"}, 422, HIGGSFIELD),
    ],
)
async def test_a_malformed_request_is_refused(
    client: SandboxClient, path: str, body: Any, status: int, form: set[str]
) -> None:
    """Nothing is charged, and the error has the vendor's fields."""
    before = (await client.get_counts())["charges"]
    headers = {"Authorization": "Key id:secret"} if path.startswith("/higgsfield") else {}
    answer = await client.post(path, json=body, headers=headers)

    assert (answer.status_code, set(answer.json())) == (status, form)
    assert (await client.get_counts())["charges"] == before


@pytest.mark.parametrize(
    ("path", "status", "form"),
    [
        ("/replicate/v1/predictions?created_after=yesterday", 400, REPLICATE),
        ("/replicate/v1/predictions?created_before=0001-01-01", 400, REPLICATE),
        ("/replicate/v1/predictions?cursor=next", 400, REPLICATE),
        ("/kling/files/1/soon.mp4", 404, KLING),
        ("/kling/files/1/1.mp4", 403, KLING),
        (f"/kling/files/1/{5000 * '9'}.mp4", 404, KLING),
    ],
)
async def test_a_malformed_url_is_refused(client: SandboxClient, path: str, status: int, form: set[str]) -> None:
    """The error has the vendor's fields."""
    answer = await client.get(path)

    assert (answer.status_code, set(answer.json())) == (status, form)
