"""`POST /v1/chat/supervisor`: a whole conversation, one run per message, and a thread that does not grow."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import NAMESPACE_URL, uuid4, uuid5

import httpx
import pytest

from tests.app import BEN, App, SandboxClient
from tests.chat.conftest import LIM
from tests.chat.conversation import confirmation, decisions, post, run_in, say, start_at_gate


@pytest.mark.slow
def test_from_an_idea_to_a_film(app: App, sandbox: SandboxClient) -> None:
    """One conversation suggests videos, starts the second one, confirms both gates by code and links to the film."""
    suggested = say(app, "What videos should I make today?")
    session = suggested["session_id"]
    (run_id,) = say(app, "Make the second one", session)["run_ids"]
    run = app.until(run_id, "awaiting_ideation_approval")

    proposed = re.search(r"^2\. (\w+): (.+)\n +\d+\.\d\d USD", suggested["response"], re.MULTILINE)
    assert proposed
    assert (run["project"], run["brief"]) == proposed.groups()

    answer = say(app, "Approve it", session)
    pending = answer["pending_decision"]
    assert pending["gate"] == "ideation"
    assert (pending["revision"], pending["digest"]) == (run["review"]["revision"], run["review"]["digest"])
    assert pending["estimated_usd"] == float(run["review"]["content"]["estimated_usd"]) > 0
    assert set(pending) >= {"what", "code", "expires_at"}
    assert pending["code"] in answer["response"]
    assert decisions(app, run_id) == []
    assert sandbox.charges(run_id) == []

    approved = say(app, f"approve {pending['code']}", session)
    assert approved["response"].startswith("Approved")
    assert approved["pending_decision"] is None
    app.until(run_id, "awaiting_publish_approval")
    say(app, confirmation(say(app, "Looks good, publish it", session)["response"]), session)
    done = app.until(run_id, "completed")

    response = say(app, "Where is my film?", session)["response"]
    link = re.search(r"http\S+/v1/artifacts/[0-9a-f]{64}\?expires=\d+&signature=[0-9a-f]{64}", response)
    assert f"Run {run_id} is completed" in response
    assert link
    assert done["artifacts"]["final_video"]["digest"] in link[0]
    assert [(d["gate"], d["verdict"], d["channel"]) for d in decisions(app, run_id)] == [
        ("ideation", "approve", "chat"),
        ("publish", "approve", "chat"),
    ]


def test_changes_and_a_rejection_are_confirmed_by_code_too(app: App, sandbox: SandboxClient) -> None:
    """The comment is recorded unchanged, the next review is a new revision, and a rejection ends the run."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    answer = say(app, "Ask for changes: more rain, please", session)
    say(app, f"revise {answer['pending_decision']['code']}", session)
    app.until(run_id, "awaiting_ideation_approval", revision=2)
    say(app, confirmation(say(app, "Reject it", session)["response"]), session)
    app.until_true(run_id, lambda run: run["status"] == "failed")

    assert [(d["verdict"], d["comment"]) for d in decisions(app, run_id)] == [
        ("revise", "more rain, please"),
        ("reject", None),
    ]
    assert app.run(run_id)["error"]["code"] == "rejected"


def test_every_tool_is_reachable(app: App, sandbox: SandboxClient) -> None:
    """Costs, open gates, links and cancelling each have a question."""
    session = say(app, "Make a video about slow snow for project tiny")["session_id"]
    (run_id,) = say(app, "Where is my film?", session)["run_ids"]
    app.until(run_id, "awaiting_ideation_approval")

    assert "day cap usd: 1000" in say(app, "What did we spend today?", session)["response"]
    assert run_id in say(app, "What is waiting for me?")["response"]
    assert "no clip is finished" in say(app, "Give me the link", session)["response"]
    say(app, confirmation(say(app, "Cancel it", session)["response"]), session)
    assert app.run(run_id)["error"]["code"] == "cancelled"


def test_a_run_from_outside_is_cancelled_only_by_its_id(app: App, sandbox: SandboxClient) -> None:
    """A session can cancel the runs that it started; the id of any other has to be in the person's message."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    assert say(app, "Cancel it", session)["pending_decision"] is None

    say(app, confirmation(say(app, f"Cancel run {run_id}", session)["response"]), session)
    assert app.run(run_id)["error"]["code"] == "cancelled"


def test_a_repeated_message_starts_one_run(app: App, sandbox: SandboxClient) -> None:
    """A message sent from several tabs at once and again later starts one run; another text starts another."""
    session, text = f"tabs-{uuid4()}", "Make a video about a lighthouse for project tiny"
    with ThreadPoolExecutor(3) as tabs:
        answers = list(tabs.map(lambda _: say(app, text, session), range(3)))
    again = say(app, text, session)
    other = say(app, "Make a video about a mill for project tiny", session)

    assert len({tuple(answer["run_ids"]) for answer in [*answers, again]}) == 1
    assert other["run_ids"] != again["run_ids"]
    assert len(app.rows("select 1 from runs where brief = %s", "A lighthouse")) == 1


def test_a_repeated_first_message_starts_one_run(app: App, sandbox: SandboxClient) -> None:
    """The first message, sent again without a session, is the same run; that of another API key is its own."""
    text = f"Make a video about a gate {uuid4().hex[:6]} for project tiny"
    first, again, theirs = say(app, text), say(app, text), say(app, text, key=BEN)
    headers = {"Idempotency-Key": str(uuid4()), "Accept": "text/event-stream"}
    streams = [
        app.client.post("/v1/chat/supervisor", json={"message": f"{text} now"}, headers=headers) for _ in range(2)
    ]

    assert first["run_ids"] == again["run_ids"] != theirs["run_ids"]
    assert first["session_id"] != again["session_id"]
    assert len({run_in(stream.text) for stream in streams}) == 1


def test_the_first_message_repeated_with_its_session_starts_one_run(app: App, sandbox: SandboxClient) -> None:
    """With the session of its response or without it, the same text is the same message."""
    text = f"Make a video about a moth {uuid4().hex[:6]} for project tiny"
    first = say(app, text)
    again = say(app, text, first["session_id"])

    assert first["run_ids"] == again["run_ids"]


def test_another_idempotency_key_is_another_message(app: App, sandbox: SandboxClient) -> None:
    """The same text under another Idempotency-Key is a new message; under the same key it is a repeated request."""
    session, text = f"named-{uuid4()}", f"Make a video about a bee {uuid4().hex[:6]} for project tiny"

    def ask(key: str, message: str = text, **headers: str) -> httpx.Response:
        body = {"message": message, "session_id": session}
        return app.client.post("/v1/chat/supervisor", json=body, headers={"Idempotency-Key": key, **headers})

    one, other = str(uuid4()), str(uuid4())
    first, again, second = (ask(key).json()["run_ids"] for key in (one, one, other))
    stream = {"Accept": "text/event-stream"}
    reused = [ask(one, "Hello"), ask(one, "Hello", **stream)]
    replayed = ask(one, **stream)

    assert first == again != second
    assert [answer.status_code for answer in reused] == [409, 409]
    assert reused[1].json()["error"]["code"] == "idempotency_key_reused"
    assert json.loads(replayed.text.rpartition("data: ")[2])["run_ids"] == first


def test_a_lost_connection_stops_nothing(app: App, sandbox: SandboxClient) -> None:
    """After the client disconnects in the middle of its stream, the run and the answer in the thread are there."""
    session, brief = f"lost-{uuid4()}", f"A bridge {uuid4().hex[:6]}"
    sandbox.fault("llm_slow", times=1, seconds=1.0)
    body = f'{{"message": "Make a video about {brief} for project tiny", "session_id": "{session}"}}'
    host, port = app.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/supervisor HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {app.client.headers['X-API-Key']}\r\n"
        head += f"Accept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        connection.recv(100)

    def started() -> list[dict[str, object]]:
        return app.rows("select id from runs where brief = %s", brief)

    deadline = time.monotonic() + 20
    while not started():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    answer = say(app, "Where is my film?", session)

    assert answer["run_ids"] == [str(started()[0]["id"])]


@pytest.mark.slow
def test_a_thread_does_not_grow(app: App, sandbox: SandboxClient) -> None:
    """After sixty turns a session takes no more space than after thirty, and one checkpoint."""
    session = f"long-{uuid4()}"
    thread = str(uuid5(NAMESPACE_URL, f"myloware:chat:{session}"))

    def size() -> int:
        (row,) = app.rows(
            """select (select coalesce(sum(length(blob)), 0) from checkpoint_blobs where thread_id = %(t)s)
                 + (select coalesce(sum(length(blob)), 0) from checkpoint_writes where thread_id = %(t)s)
                 + (select coalesce(sum(length(checkpoint::text)), 0) from checkpoints where thread_id = %(t)s) as n
            """.replace("%(t)s", f"'{thread}'")
        )
        return int(row["n"])

    sizes: list[int] = []
    for turn in range(60):
        say(app, f"Hello for the {turn:02}th time", session)
        sizes.append(size())
    checkpoints = app.rows("select 1 from checkpoints where thread_id = %s", thread)

    assert len(checkpoints) == 1
    assert max(sizes[30:]) <= max(sizes[:30]) * 1.02
    assert sizes[4] > sizes[0]


def test_the_question_shows_what_is_approved(app: App, sandbox: SandboxClient) -> None:
    """Each idea with its scene, and the price; an API key that was shown them needs no digest."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?", key=BEN)["session_id"]
    body, headers = {"gate": "ideation", "approved": True}, {"X-API-Key": BEN}
    before = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers=headers)
    question = say(app, "Approve it", session, key=BEN)["response"]
    after = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers=headers)
    content = app.run(run_id)["artifacts"]["ideas"]

    assert [idea["scene"] in question for idea in content["ideas"]] == [True]
    assert "for 0.30 USD" in question
    assert (before.status_code, after.status_code) == (409, 200)


def test_a_session_belongs_to_one_api_key(app: App, sandbox: SandboxClient) -> None:
    """Neither key can read the session of the other or use its code."""
    run_id = start_at_gate(app)
    mine = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", mine)["response"])
    theirs = say(app, "What projects are there?", key=BEN)["session_id"]

    assert post(app, "What did we say?", mine, key=BEN).status_code == 422
    assert "No decision waits" in say(app, sentence, theirs, key=BEN)["response"]
    assert "No decision waits" in say(app, sentence, say(app, "Hello")["session_id"])["response"]
    assert decisions(app, run_id) == []


def test_a_key_without_permission_cannot_decide(app: App, sandbox: SandboxClient) -> None:
    """It chats and starts runs, but cannot prepare, confirm or approve a decision, neither in a chat nor by REST."""
    started = say(app, "Make a video about moss for project tiny", key=LIM)
    (run_id,) = started["run_ids"]
    run = app.until(run_id, "awaiting_ideation_approval")
    answer = say(app, "Approve it", started["session_id"], key=LIM)
    headers = {"X-API-Key": LIM}
    body = {"gate": "ideation", "approved": True, "digest": run["review"]["digest"]}
    by_rest = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers=headers)
    by_code = post(app, "approve K7Q2", started["session_id"], key=LIM)

    assert answer["pending_decision"] is None
    assert "lacks approval permission" in answer["response"]
    for refused in (by_rest, by_code):
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "approval_not_permitted")
    assert decisions(app, run_id) == []
    assert app.rows("select 1 from pending_confirmations where run_id = %s", run_id) == []


def test_a_key_without_permission_retries_no_run_and_cancels_only_its_own(app: App, sandbox: SandboxClient) -> None:
    """A retry can order again with changed prompts; cancelling a run equals a rejection."""
    headers, theirs = {"X-API-Key": LIM}, start_at_gate(app)
    own = say(app, f"Make a video about fern {uuid4().hex[:6]} for project tiny", key=LIM)["run_ids"][0]
    failed = app.start("A run that failed")
    app.rows(
        'update runs set status = \'failed\', error = \'{"code": "x", "message": "X.", "retryable": true}\''
        " where id = %s returning id",
        failed,
    )
    refused = [
        app.client.post(f"/v1/runs/{failed}/retry", json=body, headers=headers)
        for body in ({}, {"not_made": True}, {"prompts": {"1": "Anything"}})
    ]
    refused.append(app.client.post(f"/v1/runs/{theirs}/cancel", headers=headers))
    cancelled = app.client.post(f"/v1/runs/{own}/cancel", headers=headers)

    assert [(r.status_code, r.json()["error"]["code"]) for r in refused] == [(403, "approval_not_permitted")] * 4
    assert cancelled.json()["error"]["code"] == "cancelled"
    assert app.run(theirs)["status"] == "awaiting_ideation_approval"


def test_a_stale_code_decides_nothing(app: App, sandbox: SandboxClient) -> None:
    """If the review has changed since, the person is informed and has to prepare the decision again."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", session)["response"])
    app.decide(run_id, "ideation", approved=False, comment="Something else")
    app.until(run_id, "awaiting_ideation_approval", revision=2)
    refused = say(app, sentence, session)["response"]

    assert "has changed" in refused
    assert [d["verdict"] for d in decisions(app, run_id)] == ["revise"]


def test_a_code_counts_once_and_only_with_its_word(app: App, sandbox: SandboxClient) -> None:
    """The wrong word decides nothing, the right one decides, and the same message again changes nothing."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", session)["response"])
    code = sentence.split()[1]
    assert "not for “reject”" in say(app, f"reject {code}", session)["response"]
    assert decisions(app, run_id) == []

    first, again = (say(app, sentence.lower(), session)["response"] for _ in range(2))
    assert first.startswith("Approved")
    assert "used already" in again
    assert len(decisions(app, run_id)) == 1


def test_an_expired_code_decides_nothing(app: App, sandbox: SandboxClient) -> None:
    """After half an hour the decision has to be prepared again."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", session)["response"])
    app.rows(
        "update pending_confirmations set expires_at = now() - interval '1 second' where run_id = %s returning 1",
        run_id,
    )

    assert "has expired" in say(app, sentence, session)["response"]
    assert decisions(app, run_id) == []
    assert confirmation(say(app, "Please approve it", session)["response"]) != sentence


def test_two_clicks_on_one_code_decide_once(app: App, sandbox: SandboxClient) -> None:
    """From several tabs at the same moment."""
    run_id = start_at_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", session)["response"])
    gate = threading.Barrier(3)

    def click(_: int) -> str:
        gate.wait()
        return str(say(app, sentence, session)["response"])

    with ThreadPoolExecutor(3) as tabs:
        answers = sorted(tabs.map(click, range(3)))

    assert [answer.startswith("Approved") for answer in answers] == [True, False, False]
    assert len(decisions(app, run_id)) == 1


@pytest.mark.parametrize("message", ["", "   ", "x" * 100_001])
def test_an_invalid_message_is_refused(app: App, message: str) -> None:
    """An empty or too long message is answered with 422."""
    assert post(app, message).status_code == 422
