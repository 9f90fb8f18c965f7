"""Rules of all chat protocols: API keys, rate limit, settings and long conversations."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from api.http_server import run_server
from api.listening import listen, url_of
from api.settings import SettingsError, read_settings
from cli.main import app
from tests.app import ANNA, App

pytestmark = pytest.mark.slow


@pytest.fixture
def limited_url(app: App) -> Iterator[str]:
    """The URL of the same product with a rate limit of two requests per minute."""
    listening, stop = listen(), asyncio.Event()

    async def serve() -> None:
        async with run_server(
            replace(app.state, settings=app.settings.model_copy(update={"rate_limit": 2})), listening
        ):
            await stop.wait()

    server = asyncio.run_coroutine_threadsafe(serve(), app._loop)
    yield url_of(listening)
    app._loop.call_soon_threadsafe(stop.set)
    server.result(30)


def test_the_rate_limit_counts_all_protocols_together(app: App, limited_url: str) -> None:
    """A request over one protocol counts for all; each refuses in its own shape, with the time to wait."""
    app.rows("delete from rate_limits returning 1")
    headers = {"Authorization": f"Bearer {ANNA}", "X-API-Key": ANNA, "Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    allowed = [
        httpx.get(f"{limited_url}/v1/models", headers=headers),
        httpx.get(f"{limited_url}/v1/runs", headers=headers),
    ]
    rest = httpx.post(f"{limited_url}/v1/chat/supervisor", json={"message": "Hello"}, headers=headers)
    openai = httpx.get(f"{limited_url}/v1/models", headers=headers)
    mcp = httpx.post(f"{limited_url}/mcp", json=body, headers=headers)
    app.rows("delete from rate_limits returning 1")

    assert [answer.status_code for answer in allowed] == [200, 200]
    for refused in (rest, openai, mcp):
        assert refused.status_code == 429
        assert refused.json()["retry_after_seconds"] >= 1
        assert int(refused.headers["Retry-After"]) >= 1
    assert openai.json()["error"]["type"] == "rate_limit_error"


def test_a_long_conversation_is_accepted(app: App) -> None:
    """Clients send all of it, images included; a body over the limit is refused."""
    headers = {"Authorization": f"Bearer {ANNA}"}

    def ask(kilobytes: int) -> httpx.Response:
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1024 * kilobytes}}
        messages: list[Any] = [
            {"role": "user", "content": [{"type": "text", "text": "Look"}, image]},
            {"role": "assistant", "content": "I see."},
            {"role": "user", "content": "What projects are there?"},
        ]
        body = {"model": "supervisor", "messages": messages}
        return httpx.post(f"{app.url}/v1/chat/completions", json=body, headers=headers, timeout=30)

    assert "tiny" in ask(1024).json()["choices"][0]["message"]["content"]
    assert ask(5 * 1024).status_code == 413


def test_the_cli_prints_the_settings_of_mcp_clients() -> None:
    """With the URL and the header, without a key."""
    result = CliRunner().invoke(app, ["mcp", "--url", "https://studio.example/"])
    blocks = [json.loads(block) for block in re.findall(r"^\{.*?^\}", result.output, re.MULTILINE | re.DOTALL)]

    assert result.exit_code == 0
    for block in blocks:
        (servers,) = block.values()
        assert servers["myloware"]["url"] == "https://studio.example/mcp"
        assert servers["myloware"]["headers"] == {"Authorization": "Bearer your-api-key"}
    assert len(blocks) == 2


def test_a_key_in_both_lists_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same key cannot be limited and not limited."""
    monkeypatch.setenv("MYLOWARE_API_KEYS", "one,two")
    monkeypatch.setenv("MYLOWARE_LIMITED_API_KEYS", "two")
    with pytest.raises(SettingsError, match="MYLOWARE_LIMITED_API_KEYS"):
        read_settings()
    monkeypatch.setenv("MYLOWARE_LIMITED_API_KEYS", "three")

    assert [key.get_secret_value() for key in read_settings().limited_api_keys or []] == ["three"]
