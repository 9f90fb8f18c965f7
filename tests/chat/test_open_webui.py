"""The requests of Open WebUI 0.12.4, in the order in which it sent them while a film was made (`tests/clients`)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from markdown_it import MarkdownIt

from tests.app import ANNA, App, SandboxClient
from tests.chat.conversation import confirmation, decisions, run_in, say
from tests.clients.recording_proxy import text_of

REQUESTS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "recorded" / "open_webui_conversation.json").read_text()
)
#: What a request may have changed.
TABLES = ("runs", "decisions", "pending_confirmations", "events", "checkpoints", "chat_sessions", "served_reviews")
#: The status for which the person waits after a message, by its number.
WAITS = {2: "awaiting_ideation_approval", 5: "awaiting_publish_approval", 8: "completed"}


def filled(value: Any, words: dict[str, str]) -> Any:
    """Return the JSON with these words in place of the placeholders."""
    if isinstance(value, dict):
        return {name: filled(each, words) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, words) for each in value]
    for name, word in words.items() if isinstance(value, str) else ():
        value = value.replace(f"{{{name}}}", word)
    return value


def recorded_state(app: App, sandbox: SandboxClient) -> dict[str, Any]:
    """Return the number of rows of each table, of the orders that are not answers of a model, and of the charges."""
    counts = {table: app.rows(f"select count(*) as n from {table}")[0]["n"] for table in TABLES}
    orders = app.rows("select kind, count(*) as n from orders where kind != 'model' group by kind order by kind")
    return {**counts, "orders": orders, "sandbox": sandbox.counts()}


@pytest.mark.slow
def test_open_webui_from_a_question_to_a_film(app: App, sandbox: SandboxClient) -> None:
    """The person's messages make one film, posted once; the client's own requests change nothing."""
    words = {"key": ANNA, "chat": str(uuid4()), "url": app.url, "run": ""}
    side_requests = Counter[str]()
    answers: list[str] = []

    for request in REQUESTS:
        body, headers = filled(request["body"], words), filled(request["headers"], words)
        before = recorded_state(app, sandbox)
        answer = httpx.post(f"{app.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        if request["kind"] != "chat":
            assert recorded_state(app, sandbox) == before
            assert answer.json()["choices"][0]["message"]["content"]
            side_requests[request["kind"]] += 1
            continue
        answers.append(text_of(answer.text))
        words[f"answer {len(answers)}"] = answers[-1].strip()
        if "send exactly" in answers[-1]:
            words[f"code {1 + ('code 1' in words)}"] = confirmation(answers[-1]).split()[1]
        if len(answers) == 2:
            words["run"] = run_in(answers[-1])
        if len(answers) in WAITS:
            app.until(words["run"], WAITS[len(answers)])

    run_id = words["run"]
    assert [(row["gate"], row["verdict"], row["channel"]) for row in decisions(app, run_id)] == [
        ("ideation", "approve", "chat"),
        ("publish", "approve", "chat"),
    ]
    run = app.run(run_id)
    assert len(sandbox.charges(run_id)) == len(run["artifacts"]["clip_manifest"]["clips"])
    assert len(sandbox.posts(run["artifacts"]["final_video"]["digest"])) == 1
    assert set(side_requests) == {"title", "tags", "follow_ups"}
    assert side_requests["follow_ups"] == len(answers)


def test_an_answer_is_shown_as_markdown(app: App, sandbox: SandboxClient) -> None:
    """What a person has to send is no part of the list before it, nothing is said twice, and a run has a link."""
    proposals = MarkdownIt().render(say(app, "What videos should I make today?")["response"])
    started = say(app, "Make a video about reeds for project tiny")
    run_id, session = run_in(started["response"]), started["session_id"]
    app.until(run_id, "awaiting_ideation_approval")
    progress, question = (say(app, text, session)["response"] for text in ("How is it going?", "Approve it"))
    rendered = MarkdownIt().render(question)

    assert "<p>Say “make the second one”.</p>" in proposals
    assert f"{app.url}/runs/{run_id}" in started["response"]
    assert "False" not in progress
    assert "current step" not in progress
    assert question.count("Generate 1 clip of") == 1
    assert "<p>To confirm it yourself" in rendered
    assert "<p>Run " in rendered
