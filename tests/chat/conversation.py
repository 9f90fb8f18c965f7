"""Talking over `/v1/chat/supervisor`."""

from __future__ import annotations

import re
from typing import Any

import httpx

from tests.app import App

RUN = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
SENTENCE = re.compile(r"send exactly: ((approve|revise|reject) ([A-Z]\d[A-Z]\d))")


def post(app: App, message: str, session: str | None = None, key: str | None = None) -> httpx.Response:
    """The answer to a message."""
    body: dict[str, Any] = {"message": message, **({"session_id": session} if session else {})}
    return app.client.post("/v1/chat/supervisor", json=body, headers={"X-API-Key": key} if key else {})


def say(app: App, message: str, session: str | None = None, key: str | None = None) -> dict[str, Any]:
    """The answer to a message that is answered."""
    answer = post(app, message, session, key)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def confirmation(text: str) -> str:
    """The words that confirm what an answer has prepared."""
    match = SENTENCE.search(text)
    assert match, text
    return match[1]


def run_in(text: str) -> str:
    """The run that an answer speaks of."""
    found = re.findall(RUN, text)
    assert found, text
    return str(found[-1])


def decisions(app: App, run_id: str) -> list[dict[str, Any]]:
    """What was decided about a run."""
    return app.rows("select * from decisions where run_id = %s order by number", run_id)


def at_a_gate(app: App, brief: str = "Rain on a quiet window") -> str:
    """A run that waits at its first gate."""
    run_id = app.start(brief)
    app.until(run_id, "awaiting_ideation_approval")
    return run_id
