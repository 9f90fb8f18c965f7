"""Notifications: content, signature, retries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from api.checked_settings import check_settings
from api.settings import Settings, SettingsError, read_settings
from providers.webhooks import InvalidSignature, parse_secret, verify_signature
from runs.notifications import (
    JITTER,
    RETRY_DELAYS_SECONDS,
    enqueue_notifications,
    retry_delay_seconds,
    send_due_notifications,
)
from tests.app import SandboxClient, settings_for
from tests.reviews.conftest import SECRET, ManualApp, Receiver

KEY = parse_secret(SECRET)


def delivery_of(manual_app: ManualApp, run_id: str, path: str = "/hook") -> dict[str, Any]:
    """The newest delivery about a run to this path."""
    rows = manual_app.app.rows(
        "select deliveries.*, next_attempt_at - now() as until from deliveries join events on events.id = event"
        " where run_id = %s and url like %s order by event desc limit 1",
        run_id,
        f"%{path}",
    )
    return rows[0]


def retry_now(manual_app: ManualApp, run_id: str) -> None:
    """Retry every waiting delivery about a run."""
    manual_app.app.rows(
        "update deliveries set next_attempt_at = now() where state = 'waiting' and event in"
        " (select id from events where run_id = %s) returning 1",
        run_id,
    )
    manual_app.app.in_loop(send_due_notifications(manual_app.services))


def test_opened_review_is_notified(manual_app: ManualApp, receiver: Receiver) -> None:
    """A signed Standard Webhook contains the run, the gate, the revision and the digest of the content."""
    run = manual_app.start_review()
    [request] = receiver.requests

    webhook_id = verify_signature(request.headers, request.body, [KEY], now=datetime.now(UTC))
    assert webhook_id == delivery_of(manual_app, run["run_id"])["id"]
    assert request.headers["content-type"] == "application/json"
    assert request.json.keys() == {"type", "timestamp", "data"}
    assert datetime.fromisoformat(request.json["timestamp"]).tzinfo is not None
    assert request.json["type"] == "run.awaiting_approval"
    assert request.json["data"] == {
        "run_id": run["run_id"],
        "status": "awaiting_ideation_approval",
        "reason": "opened",
        "gate": "ideation",
        "revision": 1,
        "digest": run["review"]["digest"],
    }
    assert len(request.body) < 20_000
    with pytest.raises(InvalidSignature):
        verify_signature(request.headers, request.body.replace(b"ideation", b"publish_"), [KEY], now=datetime.now(UTC))


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda manual_app, run_id: manual_app.app.decide(run_id, "ideation", approved=False), "rejected"),
        (lambda manual_app, run_id: manual_app.app.client.post(f"/v1/runs/{run_id}/cancel"), "cancelled"),
    ],
    ids=["rejected", "cancelled"],
)
def test_failed_run_is_notified_once(
    manual_app: ManualApp, receiver: Receiver, end: Callable[[ManualApp, str], object], code: str
) -> None:
    """The notification contains the code and the message of the error."""
    run_id = manual_app.start_review()["run_id"]
    end(manual_app, run_id)
    error = manual_app.advance(run_id)["error"]
    manual_app.notify()
    manual_app.notify()

    assert [each["type"] for each in receiver.notifications_of(run_id)] == ["run.awaiting_approval", "run.failed"]
    assert receiver.notifications_of(run_id)[-1]["data"] == {
        "run_id": run_id,
        "status": "failed",
        "error": {"code": code, "message": error["message"]},
    }


def test_long_error_is_cut(manual_app: ManualApp, receiver: Receiver) -> None:
    """A notification stays below 20 kB, however long the error of a provider is."""
    run_id = manual_app.start_review()["run_id"]
    error = json.dumps({"code": "odd", "message": "ä" * 50_000})
    manual_app.app.rows(
        "insert into events (source, dedup_key, run_id, seq, kind, payload)"
        " values ('advance', gen_random_uuid()::text, %s, 9999, 'run.failed', %s) returning 1",
        run_id,
        error,
    )
    manual_app.notify()

    assert receiver.notifications_of(run_id)[-1]["data"]["error"]["message"] == "ä" * 2_000
    assert len(receiver.requests[-1].body) < 20_000


def test_event_that_was_rolled_back_is_not_notified(manual_app: ManualApp, receiver: Receiver) -> None:
    """A notification is recorded in the transaction of its event."""
    run_id = manual_app.start_review()["run_id"]

    async def roll_back() -> None:
        async with manual_app.services.db.transaction() as conn:
            await conn.execute(
                "insert into events (source, dedup_key, run_id, seq, kind)"
                " values ('advance', 'x', %s, 9998, 'run.completed')",
                (run_id,),
            )
            raise LookupError

    with pytest.raises(LookupError):
        manual_app.app.in_loop(roll_back())
    manual_app.notify()

    assert len(receiver.notifications_of(run_id)) == 1


def test_notification_is_sent_by_one_process(manual_app: ManualApp, receiver: Receiver) -> None:
    """Eight concurrent processes send one notification per event."""
    runs = [manual_app.advance(manual_app.app.start())["run_id"] for _ in range(3)]

    async def notify_concurrently() -> None:
        await asyncio.gather(*(enqueue_notifications(manual_app.services) for _ in range(8)))
        await asyncio.gather(*(send_due_notifications(manual_app.services) for _ in range(8)))

    manual_app.app.in_loop(notify_concurrently())

    assert [len(receiver.notifications_of(run_id)) for run_id in runs] == [1, 1, 1]


def test_failed_notification_is_retried_with_the_same_id(manual_app: ManualApp, receiver: Receiver) -> None:
    """Attempts follow at growing intervals, each with its own signature, until one is delivered."""
    receiver.responses[:] = [(500, {}), (503, {}), (302, {"Location": f"{receiver.url}/elsewhere"})]
    run_id = manual_app.start_review()["run_id"]
    waits = [delivery_of(manual_app, run_id)["until"]]
    for _ in range(2):
        retry_now(manual_app, run_id)
        waits.append(delivery_of(manual_app, run_id)["until"])
    retry_now(manual_app, run_id)
    delivered = delivery_of(manual_app, run_id)

    assert (delivered["state"], delivered["attempts"], delivered["last_response"]) == ("delivered", 4, "HTTP 204")
    assert {request.path for request in receiver.requests} == {"/hook"}
    assert {request.headers["webhook-id"] for request in receiver.requests} == {delivered["id"]}
    assert len({request.body for request in receiver.requests}) == 1
    assert timedelta(0) < waits[0] < timedelta(seconds=1.3)
    assert timedelta(seconds=3) < waits[1] < timedelta(seconds=6.1)
    assert timedelta(seconds=20) < waits[2] < timedelta(seconds=36.1)
    for request in receiver.requests:
        verify_signature(request.headers, request.body, [KEY], now=datetime.now(UTC))


def test_retry_after_is_honoured(manual_app: ManualApp, receiver: Receiver) -> None:
    """`Retry-After` delays the next attempt by up to an hour."""
    receiver.responses[:] = [(429, {"Retry-After": "90"}), (503, {"Retry-After": "9999999"})]
    run_id = manual_app.start_review()["run_id"]
    assert timedelta(seconds=80) < delivery_of(manual_app, run_id)["until"] < timedelta(seconds=91)
    retry_now(manual_app, run_id)

    assert timedelta(minutes=59) < delivery_of(manual_app, run_id)["until"] <= timedelta(hours=1)


def test_refused_notification_is_abandoned(manual_app: ManualApp, receiver: Receiver) -> None:
    """A refused notification is not sent again, and the history of the run contains that."""
    receiver.responses[:] = [(404, {})]
    run_id = manual_app.start_review()["run_id"]
    retry_now(manual_app, run_id)

    assert len(receiver.requests) == 1
    [notification] = manual_app.app.client.get(f"/v1/runs/{run_id}/history").json()["notifications"]
    assert (notification["state"], notification["attempts"], notification["last_response"]) == (
        "abandoned",
        1,
        "HTTP 404",
    )
    assert notification["host"] == receiver.url.removeprefix("http://")
    assert "hook" not in json.dumps(notification)


def test_gone_endpoint_is_disabled(manual_app: ManualApp, receiver: Receiver) -> None:
    """After 410 neither waiting nor new notifications are sent."""
    receiver.responses[:] = [(500, {}), (410, {})]
    waiting = manual_app.start_review()["run_id"]
    gone = manual_app.start_review()["run_id"]
    retry_now(manual_app, waiting)
    later = manual_app.start_review()["run_id"]

    assert (len(receiver.requests), receiver.notifications_of(later)) == (2, [])
    assert [delivery_of(manual_app, run_id)["state"] for run_id in (waiting, gone)] == ["abandoned", "abandoned"]


def test_notification_is_abandoned_after_the_last_attempt(manual_app: ManualApp, receiver: Receiver) -> None:
    """There are twelve attempts in about seven hours."""
    receiver.responses[:] = [(500, {})]
    run_id = manual_app.start_review()["run_id"]
    manual_app.app.rows(
        "update deliveries set attempts = 11 where id = %s returning 1", delivery_of(manual_app, run_id)["id"]
    )
    receiver.responses[:] = [(500, {})]
    retry_now(manual_app, run_id)

    delivery = delivery_of(manual_app, run_id)
    assert (delivery["state"], delivery["attempts"]) == ("abandoned", 12)
    assert [retry_delay_seconds(attempts) is None for attempts in (1, 11, 12)] == [False, False, True]
    for attempts, delay in enumerate(RETRY_DELAYS_SECONDS, start=1):
        assert delay * (1 - JITTER) <= (retry_delay_seconds(attempts) or 0) <= delay * (1 + JITTER)


def test_claim_of_a_dead_process_expires(manual_app: ManualApp, receiver: Receiver) -> None:
    """A notification that a dead process claimed is sent by another one after a minute."""
    receiver.responses[:] = [(500, {})]
    run_id = manual_app.start_review()["run_id"]
    claimed = (
        "update deliveries set attempts = 2, next_attempt_at = now() + interval '60 seconds' where id = %s returning 1"
    )
    manual_app.app.rows(claimed, delivery_of(manual_app, run_id)["id"])
    manual_app.app.in_loop(send_due_notifications(manual_app.services))
    assert len(receiver.requests) == 1
    retry_now(manual_app, run_id)

    assert (len(receiver.requests), delivery_of(manual_app, run_id)["state"]) == (2, "delivered")


def test_notification_to_a_removed_url_is_abandoned(manual_app: ManualApp, receiver: Receiver) -> None:
    """A waiting notification to a URL that is no longer in the settings is abandoned."""
    receiver.responses[:] = [(500, {})]
    run_id = manual_app.start_review()["run_id"]
    manual_app.app.rows(
        "update deliveries set url = url || '-old' where id = %s returning 1", delivery_of(manual_app, run_id)["id"]
    )
    retry_now(manual_app, run_id)

    assert len(receiver.requests) == 1
    assert delivery_of(manual_app, run_id, "/hook-old")["last_response"] == "the URL is no longer in the settings"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"notify_urls": ["https://example.com/x"]}, "MYLOWARE_NOTIFY_SECRET"),
        ({"notify_escalate_urls": ["https://example.com/x"]}, "MYLOWARE_NOTIFY_SECRET"),
        ({"notify_urls": ["http://example.com/x"], "notify_secret": SECRET}, "must be https"),
        ({"notify_urls": ["ftp://example.com/x"], "notify_secret": SECRET}, "must be an http or https URL"),
        ({"notify_urls": ["https://u:p@example.com/x"], "notify_secret": SECRET}, "user name"),
        ({"notify_private_hosts": ["http://inside"]}, "without scheme and port"),
        ({"notify_private_hosts": ["*"]}, "host name or IP address"),
    ],
    ids=str,
)
def test_invalid_notification_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    """Invalid settings are reported in one sentence before the service starts."""
    with pytest.raises(ValidationError, match=message):
        Settings(_env_file=None, **changes)  # type: ignore[call-arg]


def test_weak_secret_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A secret that is too short is refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MYLOWARE_NOTIFY_SECRET", "whsec_c2hvcnQ=")

    with pytest.raises(SettingsError, match="MYLOWARE_NOTIFY_SECRET"):
        read_settings({})


def test_escalation_requires_urls(tmp_path: Path, sandbox_process: SandboxClient, deadline_projects: Path) -> None:
    """A project that escalates reviews requires an escalation URL."""
    settings = settings_for("postgresql://unused", tmp_path, sandbox_process, projects_dir=deadline_projects)

    with pytest.raises(SettingsError, match=r"escalate\.md: .*MYLOWARE_NOTIFY_ESCALATE_URLS"):
        check_settings(settings)
