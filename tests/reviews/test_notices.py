"""Notices to the outside: what is said, how it is signed, and what becomes of one that does not arrive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from api.settings import Settings, SettingsError, read_settings
from api.wiring import check_settings
from providers.webhooks import InvalidSignature, parse_secret, verify_signature
from runs.notifications import (
    JITTER,
    RETRY_DELAYS_SECONDS,
    enqueue_notifications,
    retry_delay_seconds,
    send_due_notifications,
)
from tests.app import SandboxClient, settings_for
from tests.reviews.conftest import SECRET, Desk, Receiver

KEY = parse_secret(SECRET)


def row(desk: Desk, run_id: str, path: str = "/hook") -> dict[str, Any]:
    """The newest notice about a run to this path."""
    rows = desk.app.rows(
        "select deliveries.*, next_try_at - now() as until from deliveries join events on events.id = event"
        " where run_id = %s and url like %s order by event desc limit 1",
        run_id,
        f"%{path}",
    )
    return rows[0]


def try_again(desk: Desk, run_id: str) -> None:
    """The next try of every notice about a run, at once."""
    desk.app.rows(
        "update deliveries set next_try_at = now() where state = 'waiting' and event in"
        " (select id from events where run_id = %s) returning 1",
        run_id,
    )
    desk.app.in_loop(send_due_notifications(desk.services))


def test_an_open_review_is_told(desk: Desk, receiver: Receiver) -> None:
    """Signed by Standard Webhooks: which run, which gate, which revision, and the digest of what is shown."""
    run = desk.at_ideation()
    [heard] = receiver.heard

    webhook_id = verify_signature(heard.headers, heard.body, [KEY], now=datetime.now(UTC))
    assert webhook_id == row(desk, run["run_id"])["id"]
    assert heard.headers["content-type"] == "application/json"
    assert heard.said.keys() == {"type", "timestamp", "data"}
    assert datetime.fromisoformat(heard.said["timestamp"]).tzinfo is not None
    assert heard.said["type"] == "run.awaiting_approval"
    assert heard.said["data"] == {
        "run_id": run["run_id"],
        "status": "awaiting_ideation_approval",
        "why": "opened",
        "gate": "ideation",
        "revision": 1,
        "digest": run["review"]["digest"],
    }
    assert len(heard.body) < 20_000
    with pytest.raises(InvalidSignature):
        verify_signature(heard.headers, heard.body.replace(b"ideation", b"publish_"), [KEY], now=datetime.now(UTC))


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda desk, run_id: desk.app.decide(run_id, "ideation", approved=False), "rejected"),
        (lambda desk, run_id: desk.app.client.post(f"/v1/runs/{run_id}/cancel"), "cancelled"),
    ],
    ids=["rejected", "cancelled"],
)
def test_a_run_that_ended_badly_is_told_once(
    desk: Desk, receiver: Receiver, end: Callable[[Desk, str], object], code: str
) -> None:
    """With the code and the sentence of its error."""
    run_id = desk.at_ideation()["run_id"]
    end(desk, run_id)
    error = desk.advance(run_id)["error"]
    desk.tell()
    desk.tell()

    assert [said["type"] for said in receiver.of(run_id)] == ["run.awaiting_approval", "run.failed"]
    assert receiver.of(run_id)[-1]["data"] == {
        "run_id": run_id,
        "status": "failed",
        "error": {"code": code, "message": error["message"]},
    }


def test_a_long_error_is_cut(desk: Desk, receiver: Receiver) -> None:
    """A notice stays below 20 kB, whatever a provider said."""
    run_id = desk.at_ideation()["run_id"]
    said = json.dumps({"code": "odd", "message": "ä" * 50_000})
    desk.app.rows(
        "insert into events (source, external_id, run_id, seq, kind, payload)"
        " values ('advance', gen_random_uuid()::text, %s, 9999, 'run.failed', %s) returning 1",
        run_id,
        said,
    )
    desk.tell()

    assert receiver.of(run_id)[-1]["data"]["error"]["message"] == "ä" * 2_000
    assert len(receiver.heard[-1].body) < 20_000


def test_what_was_not_committed_is_not_told(desk: Desk, receiver: Receiver) -> None:
    """A notice is kept with its event, or not at all."""
    run_id = desk.at_ideation()["run_id"]

    async def undone() -> None:
        async with desk.services.db.transaction() as conn:
            await conn.execute(
                "insert into events (source, external_id, run_id, seq, kind)"
                " values ('advance', 'x', %s, 9998, 'run.completed')",
                (run_id,),
            )
            raise LookupError

    with pytest.raises(LookupError):
        desk.app.in_loop(undone())
    desk.tell()

    assert len(receiver.of(run_id)) == 1


def test_of_many_processes_each_notice_is_sent_by_one(desk: Desk, receiver: Receiver) -> None:
    """Eight that write down and send at once tell each event once."""
    runs = [desk.advance(desk.app.start())["run_id"] for _ in range(3)]

    async def all_at_once() -> None:
        await asyncio.gather(*(enqueue_notifications(desk.services) for _ in range(8)))
        await asyncio.gather(*(send_due_notifications(desk.services) for _ in range(8)))

    desk.app.in_loop(all_at_once())

    assert [len(receiver.of(run_id)) for run_id in runs] == [1, 1, 1]


def test_what_fails_is_tried_again_under_the_same_id(desk: Desk, receiver: Receiver) -> None:
    """Later and later, signed anew each time, until it arrives."""
    receiver.answers[:] = [(500, {}), (503, {}), (302, {"Location": f"{receiver.url}/elsewhere"})]
    run_id = desk.at_ideation()["run_id"]
    waits = [row(desk, run_id)["until"]]
    for _ in range(2):
        try_again(desk, run_id)
        waits.append(row(desk, run_id)["until"])
    try_again(desk, run_id)
    arrived = row(desk, run_id)

    assert (arrived["state"], arrived["tries"], arrived["last_answer"]) == ("delivered", 4, "HTTP 204")
    assert {heard.path for heard in receiver.heard} == {"/hook"}
    assert {heard.headers["webhook-id"] for heard in receiver.heard} == {arrived["id"]}
    assert len({heard.body for heard in receiver.heard}) == 1
    assert timedelta(0) < waits[0] < timedelta(seconds=1.3)
    assert timedelta(seconds=3) < waits[1] < timedelta(seconds=6.1)
    assert timedelta(seconds=20) < waits[2] < timedelta(seconds=36.1)
    for heard in receiver.heard:
        verify_signature(heard.headers, heard.body, [KEY], now=datetime.now(UTC))


def test_a_receiver_may_ask_for_time(desk: Desk, receiver: Receiver) -> None:
    """`Retry-After` is honoured, up to an hour."""
    receiver.answers[:] = [(429, {"Retry-After": "90"}), (503, {"Retry-After": "9999999"})]
    run_id = desk.at_ideation()["run_id"]
    assert timedelta(seconds=80) < row(desk, run_id)["until"] < timedelta(seconds=91)
    try_again(desk, run_id)

    assert timedelta(minutes=59) < row(desk, run_id)["until"] <= timedelta(hours=1)


def test_what_is_refused_is_not_sent_again(desk: Desk, receiver: Receiver) -> None:
    """It is given up, and the record of the run says so."""
    receiver.answers[:] = [(404, {})]
    run_id = desk.at_ideation()["run_id"]
    try_again(desk, run_id)

    assert len(receiver.heard) == 1
    [notice] = desk.app.client.get(f"/v1/runs/{run_id}/history").json()["notices"]
    assert (notice["state"], notice["tries"], notice["last_answer"]) == ("given_up", 1, "HTTP 404")
    assert notice["host"] == receiver.url.removeprefix("http://")
    assert "hook" not in json.dumps(notice)


def test_an_address_that_is_gone_is_told_nothing_more(desk: Desk, receiver: Receiver) -> None:
    """After 410 neither what waits is sent, nor what comes."""
    receiver.answers[:] = [(500, {}), (410, {})]
    waiting = desk.at_ideation()["run_id"]
    gone = desk.at_ideation()["run_id"]
    try_again(desk, waiting)
    later = desk.at_ideation()["run_id"]

    assert (len(receiver.heard), receiver.of(later)) == (2, [])
    assert [row(desk, run_id)["state"] for run_id in (waiting, gone)] == ["given_up", "given_up"]


def test_after_the_last_try_it_is_given_up(desk: Desk, receiver: Receiver) -> None:
    """Twelve tries in some seven hours."""
    receiver.answers[:] = [(500, {})]
    run_id = desk.at_ideation()["run_id"]
    desk.app.rows("update deliveries set tries = 11 where id = %s returning 1", row(desk, run_id)["id"])
    receiver.answers[:] = [(500, {})]
    try_again(desk, run_id)

    assert (row(desk, run_id)["state"], row(desk, run_id)["tries"]) == ("given_up", 12)
    assert [retry_delay_seconds(tries) is None for tries in (1, 11, 12)] == [False, False, True]
    for tries, pause in enumerate(RETRY_DELAYS_SECONDS, start=1):
        assert pause * (1 - JITTER) <= (retry_delay_seconds(tries) or 0) <= pause * (1 + JITTER)


def test_a_process_that_died_while_sending_is_made_up_for(desk: Desk, receiver: Receiver) -> None:
    """What was taken and not settled is sent by another after a minute."""
    receiver.answers[:] = [(500, {})]
    run_id = desk.at_ideation()["run_id"]
    taken = "update deliveries set tries = 2, next_try_at = now() + interval '60 seconds' where id = %s returning 1"
    desk.app.rows(taken, row(desk, run_id)["id"])
    desk.app.in_loop(send_due_notifications(desk.services))
    assert len(receiver.heard) == 1
    try_again(desk, run_id)

    assert (len(receiver.heard), row(desk, run_id)["state"]) == (2, "delivered")


def test_an_address_that_left_the_settings_is_told_nothing(desk: Desk, receiver: Receiver) -> None:
    """What was still to be sent there is given up."""
    receiver.answers[:] = [(500, {})]
    run_id = desk.at_ideation()["run_id"]
    desk.app.rows("update deliveries set url = url || '-old' where id = %s returning 1", row(desk, run_id)["id"])
    try_again(desk, run_id)

    assert len(receiver.heard) == 1
    assert row(desk, run_id, "/hook-old")["last_answer"] == "the address is not in the settings any more"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"notify_urls": ["https://example.com/x"]}, "MYLOWARE_NOTIFY_SECRET"),
        ({"notify_escalate_urls": ["https://example.com/x"]}, "MYLOWARE_NOTIFY_SECRET"),
        ({"notify_urls": ["http://example.com/x"], "notify_secret": SECRET}, "must be https"),
        ({"notify_urls": ["ftp://example.com/x"], "notify_secret": SECRET}, "must be an http or https address"),
        ({"notify_urls": ["https://u:p@example.com/x"], "notify_secret": SECRET}, "user name"),
        ({"notify_private_hosts": ["http://inside"]}, "without a scheme"),
        ({"notify_private_hosts": ["*"]}, "name or address of a host"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], said: str) -> None:
    """In one sentence, before anything is started."""
    secret = {"notify_secret": SecretStr(changes["notify_secret"])} if "notify_secret" in changes else {}

    with pytest.raises(ValidationError, match=said):
        Settings(_env_file=None, **{**changes, **secret})  # type: ignore[call-arg]


def test_a_weak_secret_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that anybody could guess."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MYLOWARE_NOTIFY_SECRET", "whsec_c2hvcnQ=")

    with pytest.raises(SettingsError, match="MYLOWARE_NOTIFY_SECRET"):
        read_settings({})


def test_an_escalation_to_nobody_is_refused(
    tmp_path: Path, sandbox_process: SandboxClient, deadline_projects: Path
) -> None:
    """A project that escalates needs somebody to escalate to."""
    settings = settings_for("postgresql://nobody", tmp_path, sandbox_process, projects_dir=deadline_projects)

    with pytest.raises(SettingsError, match=r"escalate\.md: .*MYLOWARE_NOTIFY_ESCALATE_URLS"):
        check_settings(settings)
