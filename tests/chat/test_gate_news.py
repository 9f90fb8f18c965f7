"""A chat session hears when a gate of its runs opens: in the next answer, and at once in its stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx

from tests.app import ANNA, BEN, App, SandboxClient
from tests.chat.conversation import confirmation, run_in, say, start_at_gate


def test_the_next_answer_says_that_a_gate_opened(app: App, sandbox: SandboxClient) -> None:
    """Once, with a link named by the title and the short id of the run; other sessions hear nothing."""
    started = say(app, f"Make a video about herons {uuid4().hex[:4]} in project tiny")
    session, run_id = started["session_id"], run_in(started["response"])
    title = app.until(run_id, "awaiting_ideation_approval")["review"]["content"]["title"]
    answers = [say(app, "What projects are there?", session)["response"] for _ in range(2)]
    pattern = rf"The ideation gate of run {run_id[:8]} opened: \[(.+?)\]\(\S+/runs/{run_id}/ideation\)"
    link = re.match(pattern, answers[0])

    assert link
    assert link[1] in title
    assert "gate of run" not in started["response"] + answers[1] + say(app, "What projects are there?")["response"]

    say(app, confirmation(say(app, "approve it", session)["response"]), session)
    app.until(run_id, "awaiting_publish_approval")
    assert say(app, "approve A2C3", session)["response"]
    assert f"The publish gate of run {run_id[:8]} opened" in say(app, "how is it going?", session)["response"]


def path_of(session: str) -> str:
    """Return the path of the stream of a session."""
    return f"/v1/chat/supervisor/{session}/events"


def gates_in(answer: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the id and the data of each event of a stream as it comes."""
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    position = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        position = value if name == "id" else position
        assert (name, value) == ("event", "gate") or name != "event"
        if name == "data":
            yield position, json.loads(value)


def test_a_stream_of_the_session_says_at_once_that_a_gate_opened(app: App, sandbox: SandboxClient) -> None:
    """Of the session's runs alone, started before or after it was opened; continued, it repeats no gate."""
    session, headers = f"stream-{uuid4()}", {"X-API-Key": ANNA}
    say(app, "What projects are there?", session)
    with httpx.stream("GET", app.url + path_of(session), headers=headers, timeout=60) as answer:
        gates = gates_in(answer)
        other = start_at_gate(app)
        first = run_in(say(app, "Make a video about herons at night in project tiny", session)["response"])
        position, data = next(gates)
        assert (data["run_id"], data["gate"]) == (first, "ideation")
        assert f"]({app.url}/runs/{first}/ideation)" in data["text"]
        assert data["text"] in say(app, "What projects are there?", session)["response"]

        say(app, confirmation(say(app, "approve it", session)["response"]), session)
        later, data = next(gates)
        assert (data["run_id"], data["gate"]) == (first, "publish")
        assert int(later) > int(position)

    second = run_in(say(app, "Make a video about a lighthouse in project tiny", session)["response"])
    app.until(second, "awaiting_ideation_approval")
    for seen, expected in (({}, [first, second]), ({"Last-Event-ID": later}, [second])):
        with httpx.stream("GET", app.url + path_of(session), headers=headers | seen, timeout=60) as answer:
            gates = gates_in(answer)
            assert [next(gates)[1]["run_id"] for _ in expected] == expected
    assert other not in (first, second)


def test_only_the_key_of_a_session_follows_it(app: App) -> None:
    """For another key it is not found, as one that does not exist: it is not created either."""
    session, unknown = say(app, "What projects are there?")["session_id"], f"unknown-{uuid4()}"
    refusals = [
        app.client.get(path_of(session), headers={"X-API-Key": BEN}),
        app.client.get(path_of(unknown)),
    ]

    for refused in refusals:
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "session_not_found")
    assert app.client.get(path_of("a b")).status_code == 422
    assert httpx.get(app.url + path_of(session)).status_code == 401
    assert app.rows("select 1 from chat_sessions where id = %s", unknown) == []
    assert say(app, "What projects are there?", unknown, BEN)["session_id"] == unknown
