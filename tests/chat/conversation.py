"""Helpers for conversations over `/v1/chat/supervisor`."""

from __future__ import annotations

import re
from typing import Any

import httpx

from tests.app import App

RUN = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
CONFIRMATION = re.compile(r"send exactly: ((approve|revise|reject|cancel) ([A-Z]\d[A-Z]\d))")


def post(app: App, message: str, session: str | None = None, key: str | None = None) -> httpx.Response:
    """Send a message and return the response."""
    body: dict[str, Any] = {"message": message, **({"session_id": session} if session else {})}
    return app.client.post("/v1/chat/supervisor", json=body, headers={"X-API-Key": key} if key else {})


def say(app: App, message: str, session: str | None = None, key: str | None = None) -> dict[str, Any]:
    """Send a message and return the body of its successful response."""
    answer = post(app, message, session, key)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def confirmation(text: str) -> str:
    """Return the message that confirms the decision prepared in a response."""
    match = CONFIRMATION.search(text)
    assert match, text
    return match[1]


def run_in(text: str) -> str:
    """Return the last run id in a response."""
    found = re.findall(RUN, text)
    assert found, text
    return str(found[-1])


def decisions(app: App, run_id: str) -> list[dict[str, Any]]:
    """Return the decisions about a run, oldest first."""
    return app.rows("select * from decisions where run_id = %s order by number", run_id)


def start_at_gate(app: App, brief: str = "Rain on a quiet window") -> str:
    """Start a run, wait until its first gate is open, and return its id."""
    run_id = app.start(brief)
    app.until(run_id, "awaiting_ideation_approval")
    return run_id
