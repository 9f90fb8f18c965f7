"""What newcomers say over `/v1/chat/supervisor`: nothing is prepared or started that they did not clearly ask for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app import App, SandboxClient
from tests.chat.conversation import decisions, say, start_at_gate

UNCLEAR = [
    "make it funnier",
    "don't approve it yet",
    "what did I approve yesterday?",
    "Never publish it!",
    "hold off on approving it",
    "nicht freigeben",
    "approve it tomorrow",
    "don't cancel it",
    "make a video about bees, but don't start it yet",
]


@pytest.fixture(scope="module")
def conversation(app: App, sandbox_process: SandboxClient) -> tuple[str, str]:
    """A run at its first gate, and a session that knows it."""
    run_id = start_at_gate(app)
    return run_id, say(app, f"How is run {run_id}?")["session_id"]


@pytest.mark.parametrize("message", UNCLEAR)
def test_what_is_not_clearly_asked_for_is_not_prepared(app: App, conversation: tuple[str, str], message: str) -> None:
    """The answer says so, and with what can be said instead; there is no code, no decision and no run."""
    run_id, session = conversation
    runs = app.rows("select count(*) from runs")
    answer = say(app, message, session)

    assert answer["response"].startswith("I did not understand. I am the sandbox's language model")
    assert answer["pending_decisions"] == answer["run_ids"] == []
    assert app.rows("select 1 from pending_confirmations where run_id = %s", run_id) == decisions(app, run_id) == []
    assert app.rows("select count(*) from runs") == runs


def test_an_approval_with_a_change_is_a_change_request(app: App, sandbox: SandboxClient) -> None:
    """Its second half is the comment; nothing is approved."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    answer = say(app, "approve it, but make clip 1 darker", session)

    assert [(each["verdict"], each["estimated_usd"]) for each in answer["pending_decisions"]] == [("revise", 0)]
    assert "make clip 1 darker" in answer["pending_decision"]["what"]


@pytest.mark.slow
def test_one_of_two_runs_is_named_by_its_place(app: App, sandbox: SandboxClient) -> None:
    """“It” could be either of them, so they are listed; “the second one” is clear."""
    first, second = start_at_gate(app), start_at_gate(app)
    session = say(app, "What is waiting for me?")["session_id"]
    listed = say(app, "approve it", session)
    order = [run_id for run_id in (second, first) if run_id in listed["response"]]
    answer = say(app, "approve the second one", session)

    assert listed["pending_decisions"] == []
    assert order == [second, first]
    assert [each["run_id"] for each in answer["pending_decisions"]] == [first]


@pytest.mark.slow
def test_ideas_reasons_and_costs_are_in_the_answers(app: App, sandbox: SandboxClient) -> None:
    """The ideas with their scenes and price, why a run ended, and what was spent."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    content: dict[str, Any] = app.run(run_id)["review"]["content"]
    ideas = say(app, "what are the ideas?", session)["response"]
    assert [idea["title"] in ideas for idea in content["ideas"]] == [True]
    assert f"estimated usd: {float(content['estimated_usd'])}" in ideas
    assert "spent usd: 0" in say(app, "how much did it cost?", session)["response"]

    app.client.post(f"/v1/runs/{run_id}/cancel")
    assert "code: cancelled" in say(app, "why did it fail?", session)["response"]
