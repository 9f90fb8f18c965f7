"""Several things that one message causes, and messages that almost confirm or withdraw."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.app import ANNA, App, SandboxClient
from tests.chat.adversarial_model import ObedientModel
from tests.chat.conftest import LIM
from tests.chat.conversation import confirmation, decisions, say, start_at_gate


def order(url: str, message: str, session: str, *calls: tuple[str, dict[str, str]], key: str = ANNA) -> dict[str, Any]:
    """Send a message that the obedient model answers with these calls, and return the answer."""
    text = "\n".join([message, *(f"@{tool} {json.dumps(arguments)}" for tool, arguments in calls)])
    body = {"message": text, "session_id": session}
    answer = httpx.post(f"{url}/v1/chat/supervisor", json=body, headers={"X-API-Key": key}, timeout=60)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_every_decision_of_a_turn_is_shown_with_its_code(app: App, sandbox: SandboxClient, obedient_url: str) -> None:
    """Both codes are in the answer with what they decide and the total, and each decides its own run."""
    first, second, session = start_at_gate(app), start_at_gate(app), f"two-{uuid4()}"
    calls = [("prepare_decision", {"run_id": run_id, "verdict": "approve"}) for run_id in (first, second)]
    answer = order(obedient_url, "Approve both", session, *calls, calls[0])
    pending = answer["pending_decisions"]

    assert [each["run_id"] for each in pending] == [first, second]
    assert answer["pending_decision"] == pending[0]
    for each in pending:
        assert f"send exactly: approve {each['code']}" in answer["response"]
        assert each["what"] in answer["response"]
    total = sum(each["estimated_usd"] for each in pending)
    assert total > pending[0]["estimated_usd"] > 0
    assert f"all cost {total:.2f} USD" in answer["response"]
    near = say(app, f"approve {pending[0]['code']} and {pending[1]['code']}", session)["response"]
    assert "Nothing was decided" in near
    for each in pending:
        assert say(app, f"approve {each['code']}", session)["response"].startswith("Approved")
    assert [len(decisions(app, run_id)) for run_id in (first, second)] == [1, 1]


@pytest.mark.slow
def test_every_run_that_is_asked_for_is_started(app: App, sandbox: SandboxClient, obedient_url: str) -> None:
    """Two runs of one message are two; a call that is repeated and the message sent again start no other."""
    name, session = uuid4().hex[:6], f"runs-{uuid4()}"
    calls = [("start_run", {"project": "tiny", "brief": f"A {what} {name}"}) for what in ("heron", "stork")]
    refused = ("start_run", {"project": "unknown", "brief": "Anything"})
    answers = [order(obedient_url, "Make two videos", session, *some) for some in ([refused, *calls, calls[0]], calls)]
    # Another answer of the model to the same message, in which it refuses nothing first: the message is the same one.
    again = order(obedient_url, "Make two videos", session, *calls)
    rows = app.rows("select id, brief from runs where brief like %s order by brief", f"%{name}")

    assert [row["brief"] for row in rows if "heron" in row["brief"]] == [f"A heron {name}"] * 2
    assert len({*answers[0]["run_ids"]}) == 2
    assert answers[1]["run_ids"] == again["run_ids"]
    assert len(rows) == 4  # two messages, as their texts differ


def test_one_message_starts_few_runs(app: App, sandbox: SandboxClient, obedient_url: str) -> None:
    """A model that is carried away is refused the seventh."""
    name, session = uuid4().hex[:6], f"many-{uuid4()}"
    calls = [("start_run", {"project": "tiny", "brief": f"Number {n} {name}"}) for n in range(8)]
    order(obedient_url, "Make eight videos", session, *calls)

    assert len(app.rows("select 1 from runs where brief like %s", f"%{name}")) == 6


@pytest.mark.parametrize(
    "message",
    [
        "approve {code} thanks",
        "approved {code}",
        "{code}",
        "approving {code}",
        "do not approve {code}",
        "yes {code}, go",
        "approve: “{code}” it is",
    ],
)
@pytest.mark.slow
def test_a_near_miss_says_why(app: App, sandbox: SandboxClient, message: str) -> None:
    """In one sentence with the words that would confirm; nothing is decided, and the code still counts."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", session)["response"])
    answer = say(app, message.replace("{code}", sentence.split()[1].lower()), session)["response"]

    assert answer == f"Nothing was decided: a confirmation is a message of exactly these words: “{sentence}”."
    assert decisions(app, run_id) == []
    assert say(app, sentence, session)["response"].startswith("Approved")


@pytest.mark.parametrize("message", ["What does approve {code} mean?", "R2D2 is a robot", "{code} " + "and rain " * 8])
@pytest.mark.slow
def test_a_question_with_a_code_is_for_the_supervisor(
    app: App, sandbox: SandboxClient, obedient_url: str, obedient_model: ObedientModel, message: str
) -> None:
    """Questions, longer messages and words in the form of a code are answered by the model, which reads no code."""
    run_id, session = start_at_gate(app), f"question-{uuid4()}"
    question = order(obedient_url, "Go", session, ("prepare_decision", {"run_id": run_id, "verdict": "approve"}))
    code = question["pending_decision"]["code"]
    answer = order(obedient_url, message.replace("{code}", code), session)

    assert "Nothing was decided" not in answer["response"]
    assert code not in json.dumps(obedient_model.requests[-1]["messages"])


@pytest.mark.parametrize(
    "message", ["Never mind", "never mind.", "No, forget it!", "Withdraw {code}", "nevermind {code}"]
)
@pytest.mark.slow
def test_never_mind_withdraws(app: App, sandbox: SandboxClient, message: str) -> None:
    """The code no longer counts, and the same decision can be prepared again under another."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", session)["response"])
    code = sentence.split()[1]
    withdrawn = say(app, message.replace("{code}", code), session)["response"]
    late = say(app, sentence, session)["response"]
    again = confirmation(say(app, "Please approve it", session)["response"])

    assert withdrawn == f"Withdrawn: {code} can no longer be confirmed. Nothing was decided."
    assert late == f"The code {code} was withdrawn: prepare it again. Nothing was decided."
    assert decisions(app, run_id) == []
    assert again != sentence
    assert say(app, again, session)["response"].startswith("Approved")


def test_never_mind_without_a_question_is_for_the_supervisor(app: App, sandbox: SandboxClient) -> None:
    """Nothing is to be withdrawn; what waits in another conversation stays."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", session)["response"])

    assert "Withdrawn" not in say(app, "Never mind")["response"]
    assert say(app, sentence, session)["response"].startswith("Approved")


def test_the_end_of_a_run_is_confirmed_by_code(app: App, sandbox: SandboxClient) -> None:
    """It shows the run, costs nothing, and ends with the person's code only."""
    run_id = start_at_gate(app)
    answer = say(app, f"Cancel run {run_id}")
    pending, session = answer["pending_decision"], answer["session_id"]
    assert (pending["verdict"], pending["gate"], pending["estimated_usd"]) == ("cancel", None, 0)
    assert "Rain on a quiet window" in pending["what"]
    assert run_id in answer["response"]
    assert "not for “approve”" in say(app, f"approve {pending['code']}", session)["response"]
    assert app.run(run_id)["status"] == "awaiting_ideation_approval"

    sentence = confirmation(answer["response"])
    cancelled, again = (say(app, sentence, session)["response"] for _ in range(2))
    assert re.match(rf"Cancelled by settings key 1: the run has ended\. \(Run {run_id}\.\)", cancelled)
    assert "used already" in again
    assert app.run(run_id)["error"]["code"] == "cancelled"


def test_a_limited_key_confirms_the_end_of_its_own_runs_only(
    app: App, sandbox: SandboxClient, obedient_url: str
) -> None:
    """The right is checked before the code is shown."""
    theirs, session = start_at_gate(app), f"limited-{uuid4()}"
    own = say(app, f"Make a video about fern {uuid4().hex[:6]} for project tiny", session, key=LIM)["run_ids"][0]
    call = ("cancel_run", {"run_id": theirs})
    refused = order(obedient_url, f"Cancel run {theirs}", session, call, key=LIM)
    answer = say(app, f"Cancel run {own}", session, key=LIM)

    assert refused["pending_decisions"] == []
    assert say(app, confirmation(answer["response"]), session, key=LIM)["response"].startswith("Cancelled")
    assert app.run(own)["error"]["code"] == "cancelled"
    assert app.run(theirs)["status"] == "awaiting_ideation_approval"
