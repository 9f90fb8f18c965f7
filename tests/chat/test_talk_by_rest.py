"""The supervisor by REST: a whole conversation, one run for a message, a memory that does not grow."""

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
from tests.chat.conversation import at_a_gate, confirmation, decisions, post, run_in, say


def test_from_an_idea_to_a_film(app: App, sandbox: SandboxClient) -> None:
    """What should I make, make the second one, approved by code at both gates, where is my film: one conversation."""
    asked = say(app, "What videos should I make today?")
    session = asked["session_id"]
    begun = say(app, "Make the second one", session)
    (run_id,) = begun["run_ids"]
    run = app.until(run_id, "awaiting_ideation_approval")

    assert re.search(r"^2\. calm: (.+)$", asked["response"], re.MULTILINE)
    assert run["project"] == "calm"
    assert run["brief"] in asked["response"]

    prepared = say(app, "Approve it", session)
    pending = prepared["pending_decision"]
    assert pending["gate"] == "ideation"
    assert (pending["revision"], pending["digest"]) == (run["review"]["revision"], run["review"]["digest"])
    assert pending["estimated_usd"] == float(run["review"]["content"]["estimated_usd"]) > 0
    assert set(pending) >= {"what", "code", "expires_at"}
    assert pending["code"] in prepared["response"]
    assert decisions(app, run_id) == []
    assert sandbox.charges(run_id) == []

    approved = say(app, f"approve {pending['code']}", session)
    assert approved["response"].startswith("Approved")
    assert approved["pending_decision"] is None
    app.until(run_id, "awaiting_publish_approval")
    say(app, confirmation(say(app, "Looks good, publish it", session)["response"]), session)
    done = app.until(run_id, "completed")

    told = say(app, "Where is my film?", session)["response"]
    link = re.search(r"http\S+/v1/artifacts/[0-9a-f]{64}\?expires=\d+&signature=[0-9a-f]{64}", told)
    assert f"Run {run_id} is completed" in told
    assert link
    assert done["artifacts"]["final_video"]["digest"] in link[0]
    assert [(d["gate"], d["verdict"], d["channel"]) for d in decisions(app, run_id)] == [
        ("ideation", "approve", "chat"),
        ("publish", "approve", "chat"),
    ]


def test_changes_and_a_rejection_go_the_same_way(app: App, sandbox: SandboxClient) -> None:
    """The comment is kept as the person gave it, the next review is a new one, and rejecting ends the run."""
    run_id = at_a_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    prepared = say(app, "Ask for changes: more rain, please", session)
    say(app, f"revise {prepared['pending_decision']['code']}", session)
    app.until(run_id, "awaiting_ideation_approval", revision=2)
    say(app, confirmation(say(app, "Reject it", session)["response"]), session)
    app.until_true(run_id, lambda run: run["status"] == "failed")

    assert [(d["verdict"], d["comment"]) for d in decisions(app, run_id)] == [
        ("revise", "more rain, please"),
        ("reject", None),
    ]
    assert app.run(run_id)["error"]["code"] == "rejected"


def test_it_tells_costs_open_gates_links_and_cancels(app: App, sandbox: SandboxClient) -> None:
    """Every tool has its question."""
    session = say(app, "Make a video about slow snow for project tiny")["session_id"]
    (run_id,) = say(app, "Where is my film?", session)["run_ids"]
    app.until(run_id, "awaiting_ideation_approval")

    assert "day cap usd: 1000" in say(app, "What did we spend today?", session)["response"]
    assert run_id in say(app, "What is waiting for me?")["response"]
    assert "no clip is made" in say(app, "Give me the link", session)["response"]
    assert "cancelled" in say(app, "Cancel it", session)["response"]
    assert app.run(run_id)["error"]["code"] == "cancelled"


def test_a_run_of_somewhere_else_is_cancelled_only_by_its_name(app: App, sandbox: SandboxClient) -> None:
    """A talk ends what it began; anything else the person has to name themselves."""
    run_id = at_a_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    say(app, "Cancel it", session)
    assert app.run(run_id)["status"] == "awaiting_ideation_approval"

    say(app, f"Cancel run {run_id}", session)
    assert app.run(run_id)["error"]["code"] == "cancelled"


def test_a_message_starts_one_run_however_often_it_comes(app: App, sandbox: SandboxClient) -> None:
    """Sent again, from two tabs at once, after a lost answer; other words start another."""
    session, words = f"tabs-{uuid4()}", "Make a video about a lighthouse for project tiny"
    with ThreadPoolExecutor(3) as tabs:
        answers = list(tabs.map(lambda _: say(app, words, session), range(3)))
    again = say(app, words, session)
    other = say(app, "Make a video about a mill for project tiny", session)

    assert len({tuple(answer["run_ids"]) for answer in [*answers, again]}) == 1
    assert other["run_ids"] != again["run_ids"]
    assert len(app.rows("select 1 from runs where brief = %s", "A lighthouse")) == 1


def test_a_conversation_that_is_begun_twice_starts_one_run(app: App, sandbox: SandboxClient) -> None:
    """The first message, sent again without a session because its answer was lost; another key's is its own."""
    words = f"Make a video about a gate {uuid4().hex[:6]} for project tiny"
    first, again, theirs = say(app, words), say(app, words), say(app, words, key=BEN)
    headers = {"Idempotency-Key": str(uuid4()), "Accept": "text/event-stream"}
    streams = [
        app.client.post("/v1/chat/supervisor", json={"message": f"{words} now"}, headers=headers) for _ in range(2)
    ]

    assert first["run_ids"] == again["run_ids"] != theirs["run_ids"]
    assert first["session_id"] != again["session_id"]
    assert len({run_in(stream.text) for stream in streams}) == 1


def test_the_first_message_sent_again_with_its_session(app: App, sandbox: SandboxClient) -> None:
    """The session came back with its answer: with it or without it, the same words are the same message."""
    words = f"Make a video about a moth {uuid4().hex[:6]} for project tiny"
    first = say(app, words)
    again = say(app, words, first["session_id"])

    assert first["run_ids"] == again["run_ids"]


def test_a_request_with_a_name_of_its_own_is_a_message_of_its_own(app: App, sandbox: SandboxClient) -> None:
    """The same words under another Idempotency-Key are said once more; under the same one, sent again."""
    session, words = f"named-{uuid4()}", f"Make a video about a bee {uuid4().hex[:6]} for project tiny"

    def ask(key: str, message: str = words, **headers: str) -> httpx.Response:
        body = {"message": message, "session_id": session}
        return app.client.post("/v1/chat/supervisor", json=body, headers={"Idempotency-Key": key, **headers})

    one, other = str(uuid4()), str(uuid4())
    first, again, second = (ask(key).json()["run_ids"] for key in (one, one, other))
    stream = {"Accept": "text/event-stream"}
    reused = [ask(one, "Hello"), ask(one, "Hello", **stream)]
    told = ask(one, **stream)

    assert first == again != second
    assert [answer.status_code for answer in reused] == [409, 409]
    assert reused[1].json()["error"]["code"] == "idempotency_key_reused"
    assert json.loads(told.text.rpartition("data: ")[2])["run_ids"] == first


def test_a_lost_connection_stops_nothing(app: App, sandbox: SandboxClient) -> None:
    """The client hangs up in the middle of its stream; the run is there, and so is the answer in the talk."""
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
    told = say(app, "Where is my film?", session)

    assert told["run_ids"] == [str(started()[0]["id"])]


@pytest.mark.slow
def test_a_talk_does_not_grow(app: App, sandbox: SandboxClient) -> None:
    """After sixty turns a session takes the room it took after thirty, and one checkpoint."""
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


def test_a_session_is_its_keys_alone(app: App, sandbox: SandboxClient) -> None:
    """Neither key sees the other's talk, nor can it use the other's code."""
    run_id = at_a_gate(app)
    mine = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", mine)["response"])
    theirs = say(app, "What projects are there?", key=BEN)["session_id"]

    assert post(app, "What did we say?", mine, key=BEN).status_code == 422
    assert "No decision waits" in say(app, sentence, theirs, key=BEN)["response"]
    assert "No decision waits" in say(app, sentence, say(app, "Hello")["session_id"])["response"]
    assert decisions(app, run_id) == []


def test_a_key_without_the_right_cannot_decide(app: App, sandbox: SandboxClient) -> None:
    """It talks and starts runs; it prepares nothing, confirms nothing and approves nothing, by REST neither."""
    begun = say(app, "Make a video about moss for project tiny", key=LIM)
    (run_id,) = begun["run_ids"]
    run = app.until(run_id, "awaiting_ideation_approval")
    prepared = say(app, "Approve it", begun["session_id"], key=LIM)
    headers = {"X-API-Key": LIM}
    body = {"gate": "ideation", "approved": True, "digest": run["review"]["digest"]}
    by_rest = app.client.post(f"/v1/runs/{run_id}/approve", json=body, headers=headers)
    by_code = post(app, "approve K7Q2", begun["session_id"], key=LIM)

    assert prepared["pending_decision"] is None
    assert "may not decide" in prepared["response"]
    for refused in (by_rest, by_code):
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "may_not_decide")
    assert decisions(app, run_id) == []
    assert app.rows("select 1 from pending_confirmations where run_id = %s", run_id) == []


def test_a_key_without_the_right_lets_no_run_go_on_and_ends_only_its_own(app: App, sandbox: SandboxClient) -> None:
    """A retry may order again, with other words; the end of a run is like a rejection."""
    headers, theirs = {"X-API-Key": LIM}, at_a_gate(app)
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
    ended = app.client.post(f"/v1/runs/{own}/cancel", headers=headers)

    assert [(r.status_code, r.json()["error"]["code"]) for r in refused] == [(403, "may_not_decide")] * 4
    assert ended.json()["error"]["code"] == "cancelled"
    assert app.run(theirs)["status"] == "awaiting_ideation_approval"


def test_a_stale_code_decides_nothing(app: App, sandbox: SandboxClient) -> None:
    """What was shown has changed meanwhile; the person is told, and asks again."""
    run_id = at_a_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", session)["response"])
    app.decide(run_id, "ideation", approved=False, comment="Something else")
    app.until(run_id, "awaiting_ideation_approval", revision=2)
    refused = say(app, sentence, session)["response"]

    assert "no longer what" in refused
    assert [d["verdict"] for d in decisions(app, run_id)] == ["revise"]


def test_a_code_counts_once_and_for_its_word_alone(app: App, sandbox: SandboxClient) -> None:
    """The wrong word does nothing, the right one decides, and the same message again changes nothing."""
    run_id = at_a_gate(app)
    session = say(app, f"How is run {run_id}?")["session_id"]
    sentence = confirmation(say(app, "Approve it", session)["response"])
    code = sentence.split()[1]
    assert "does not stand for" in say(app, f"reject {code}", session)["response"]
    assert decisions(app, run_id) == []

    first, again = (say(app, sentence.lower(), session)["response"] for _ in range(2))
    assert first.startswith("Approved")
    assert "used already" in again
    assert len(decisions(app, run_id)) == 1


def test_an_expired_code_decides_nothing(app: App, sandbox: SandboxClient) -> None:
    """After half an hour it has to be prepared anew."""
    run_id = at_a_gate(app)
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
    """From two tabs at the same moment."""
    run_id = at_a_gate(app)
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


@pytest.mark.parametrize("message", ["", "   ", "x" * 10_001])
def test_a_message_of_no_use_is_refused(app: App, message: str) -> None:
    """Nothing is begun for it."""
    assert post(app, message).status_code == 422
