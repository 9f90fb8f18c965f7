"""Sessions of `/mcp`: the protocols before 2026-07-28, message by message."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx
import pytest

from api.http_server import GRACEFUL_SHUTDOWN_SECONDS
from api.mcp_server import MAX_OPEN_REQUESTS_PER_KEY
from tests.app import ANNA, BEN, App, SandboxClient
from tests.chat.adversarial_model import ObedientModel
from tests.chat.conftest import served_with
from tests.chat.conversation import decisions, start_at_gate
from tests.chat.test_mcp import write_code

LIMITS = httpx.Limits(max_connections=None)


class McpSession:
    """A client that declares forms, in a session of its own."""

    def __init__(self, url: str, version: str) -> None:
        accept = "application/json, text/event-stream"
        self.http = httpx.Client(
            headers={"Authorization": f"Bearer {ANNA}", "Accept": accept}, timeout=20, limits=LIMITS
        )
        self.url = f"{url}/mcp"
        hello = {
            "protocolVersion": version,
            "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "t", "version": "1"},
        }
        answer = self.http.post(self.url, json=_request("initialize", hello))
        assert answer.status_code == 200, answer.text
        self.version = next(_messages(answer.iter_lines()))["result"]["protocolVersion"]
        self.http.headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
        self.http.headers["MCP-Protocol-Version"] = self.version
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, message: dict[str, Any], key: str = ANNA) -> int:
        """Send a message that has no answer, and return the status."""
        headers = {"Authorization": f"Bearer {key}"}
        return self.http.post(self.url, json=message, headers=headers).status_code

    def call(self, tool: str, number: int = 1, **arguments: Any) -> Any:
        """Return the open stream of a call."""
        body = {**_request("tools/call", {"name": tool, "arguments": arguments}), "id": number}
        return self.http.stream("POST", self.url, json=body)


def _request(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _messages(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    return (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_a_question_in_a_session_is_answered_with_the_key_that_opened_it(
    app: App, sandbox: SandboxClient, version: str
) -> None:
    """To another key the session does not exist; an unknown one takes no answer."""
    run_id = start_at_gate(app)
    session = McpSession(app.url, version)
    with closing(session.http), session.call("decide_review", run_id=run_id, decision="approve") as stream:
        messages = _messages(stream.iter_lines())
        question = next(messages)
        content = write_code(question["params"]["message"]).content
        answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": content}}
        by_another = session.send(answer, BEN)
        in_unknown = httpx.post(session.url, json=answer, headers={**session.http.headers, "mcp-session-id": "another"})
        before = decisions(app, run_id)
        by_the_person = session.send(answer)
        result = next(messages)["result"]

    assert session.version == version
    assert question["method"] == "elicitation/create"
    assert (by_another, in_unknown.status_code, before) == (404, 404, [])
    assert by_the_person == 202
    assert result["structuredContent"]["decided"] is True
    assert [(d["verdict"], d["channel"]) for d in decisions(app, run_id)] == [("approve", "mcp")]


def test_a_server_stops_while_streams_are_open(app: App, sandbox: SandboxClient, obedient_model: ObedientModel) -> None:
    """Neither a session, a question that waits for a person nor the events of a run keep it from stopping."""
    run_id = start_at_gate(app)
    with ExitStack() as stack:
        with served_with(app, obedient_model) as url:
            session = McpSession(url, "2025-11-25")
            http = stack.enter_context(closing(session.http))
            events = {"url": f"{url}/v1/runs/{run_id}/events", "headers": {"Accept": "text/event-stream"}}
            streams = [
                stack.enter_context(session.call("decide_review", run_id=run_id, decision="approve")),
                stack.enter_context(http.stream("GET", session.url)),
                stack.enter_context(http.stream("GET", **events)),
            ]
            question = next(streams[0].iter_raw())
            next(streams[2].iter_raw())
            stopped_at = time.monotonic()
        seconds = time.monotonic() - stopped_at

    assert b"elicitation/create" in question
    assert [stream.status_code for stream in streams] == [200] * 3
    assert seconds < GRACEFUL_SHUTDOWN_SECONDS
    assert decisions(app, run_id) == []


@pytest.mark.slow
def test_a_key_has_a_limited_number_of_open_requests(app: App, sandbox: SandboxClient) -> None:
    """The requests of another key are served, and so are its own after the streams have ended."""
    run_id = start_at_gate(app)
    session = McpSession(app.url, "2025-11-25")
    ping = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    with closing(session.http):
        with ExitStack() as stack:
            for number in range(MAX_OPEN_REQUESTS_PER_KEY):
                call = session.call("decide_review", number, run_id=run_id, decision="approve")
                stack.enter_context(call)
            refused, by_another = session.send(ping), session.send(ping, BEN)
        deadline = time.monotonic() + 10
        while session.send(ping) != 202:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    assert (refused, by_another) == (429, 404)
    assert decisions(app, run_id) == []
