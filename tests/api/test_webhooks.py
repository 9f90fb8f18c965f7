"""Inbound webhooks: recorded once, accepted only with a valid signature, and never answered with a 500."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from providers.webhooks import parse_secret, sign
from tests.app import App, SandboxClient
from tests.openapi import check_response

#: Captured from the provider's dashboard; the API reference contains both.
COMPLETED = b"""{
  "id": "evt_69449cfb31088190a29b3f98a8450ccb",
  "object": "event",
  "created_at": 1766104315,
  "type": "video.completed",
  "data": {
    "id": "video_abc123"
  }
}"""
FAILED = b"""{
  "id": "evt_69449cf62cdc8190a854f95b368a5d4d",
  "object": "event",
  "created_at": 1766104310,
  "type": "video.failed",
  "data": {
    "id": "video_abc123"
  }
}"""
OTHER_SECRET = "whsec_" + base64.b64encode(b"another service's secret").decode()


def signed(app: App, body: bytes, *, secret: str = "", name: str = "", at: datetime | None = None) -> dict[str, str]:
    """Return the headers of a delivery."""
    (configured,) = app.settings.video_webhook_secrets or []
    name = name or f"msg_{uuid4().hex}"
    return sign(parse_secret(secret) if secret else configured, id=name, at=at or datetime.now(UTC), body=body)


def deliver(app: App, body: bytes, headers: dict[str, str], path: str = "/v1/webhooks/sora") -> httpx.Response:
    """Send a delivery without an API key, as a provider does, and check the response against its schema."""
    answer = httpx.post(f"{app.url}{path}", content=body, headers={"content-type": "application/json", **headers})
    check_response(answer)
    return answer


def count_recorded(app: App) -> int:
    (row,) = app.rows("select count(*) as n from events where kind = 'webhook.received'")
    return int(row["n"])


@pytest.mark.parametrize("body", [COMPLETED, FAILED], ids=["completed", "failed"])
def test_captured_events_are_accepted(quiet_app: App, body: bytes) -> None:
    """An event of an unknown video is accepted; a repeated delivery is a duplicate and recorded once."""
    before, headers = count_recorded(quiet_app), signed(quiet_app, body)

    assert deliver(quiet_app, body, headers).json() == {"status": "accepted"}
    again = deliver(quiet_app, body, headers)
    assert (again.status_code, again.json()) == (200, {"status": "duplicate"})
    assert count_recorded(quiet_app) == before + 1
    event = quiet_app.rows("select * from events where dedup_key = %s", headers["webhook-id"])[0]
    assert (event["source"], event["subject"], event["run_id"]) == ("sora", "video_abc123", None)


def test_the_run_id_parameter_is_a_hint(quiet_app: App) -> None:
    """`?run_id=` names the run of an unknown video; an unknown run is ignored."""
    run_id = quiet_app.start()
    for hint, recorded in ((run_id, run_id), (str(uuid4()), None)):
        headers = signed(quiet_app, COMPLETED)
        answer = deliver(quiet_app, COMPLETED, headers, f"/v1/webhooks/sora?run_id={hint}")
        assert answer.json() == {"status": "accepted"}
        event = quiet_app.rows("select run_id::text from events where dedup_key = %s", headers["webhook-id"])[0]
        assert event["run_id"] == recorded
    assert quiet_app.run(run_id)["status"] == "pending"


async def test_twenty_concurrent_deliveries_are_recorded_once(quiet_app: App) -> None:
    """One is accepted, and the others are duplicates."""
    before, headers = count_recorded(quiet_app), signed(quiet_app, COMPLETED)
    async with httpx.AsyncClient(base_url=quiet_app.url, timeout=30) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/webhooks/sora", content=COMPLETED, headers=headers) for _ in range(20))
        )

    assert Counter(answer.json().get("status") for answer in answers) == {"accepted": 1, "duplicate": 19}
    assert {answer.status_code for answer in answers} == {200}
    assert count_recorded(quiet_app) == before + 1


def test_other_event_types_are_ignored(quiet_app: App) -> None:
    """A signed event of another type is acknowledged and not recorded."""
    before = count_recorded(quiet_app)
    body = json.dumps({"type": "batch.completed", "data": {"id": "batch_1"}}).encode()

    assert deliver(quiet_app, body, signed(quiet_app, body)).json() == {"status": "ignored"}
    assert count_recorded(quiet_app) == before


def _invalid_deliveries(app: App) -> list[tuple[str, bytes, dict[str, str], int]]:
    valid, now = signed(app, COMPLETED), datetime.now(UTC)
    event: dict[str, Any] = json.loads(COMPLETED)
    bodies = [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b'{"type": "video.completed"}',
        b'{"type": "video.completed", "data": []}',
        b'{"type": "video.completed", "data": {"id": 5}}',
        b'{"type": "video.completed", "data": {"id": ""}}',
        b'{"type": "video.completed", "data": {"id": "a\\u0000b"}}',
        b'{"type": "video.completed", "data": {"id": "\\ud800"}}',
        b'{"type": ["video.completed"], "data": {"id": "x"}}',
        b"[" * 50_000,
        json.dumps({**event, "data": {"id": "x" * 5000}}).encode(),
    ]
    return [
        ("no headers", COMPLETED, {}, 401),
        ("forged", COMPLETED, signed(app, COMPLETED, secret=OTHER_SECRET), 401),
        ("stale", COMPLETED, signed(app, COMPLETED, at=now - timedelta(seconds=301)), 401),
        ("from the future", COMPLETED, signed(app, COMPLETED, at=now + timedelta(seconds=310)), 401),
        ("another body", FAILED, valid, 401),
        ("another id", COMPLETED, valid | {"webhook-id": "msg_other"}, 401),
        ("another time", COMPLETED, valid | {"webhook-timestamp": str(int(now.timestamp()) + 1)}, 401),
        *[
            (f"signature {text!r}", COMPLETED, valid | {"webhook-signature": text}, 401)
            for text in ("garbage", "v1", "v1,", "v1,abc", "", "v1,ü", "v2," + valid["webhook-signature"][3:])
        ],
        *[
            (f"time {text!r}", COMPLETED, valid | {"webhook-timestamp": text}, 401)
            for text in ("", "now", "-1", "1e9", "9" * 30, "٣")
        ],
        ("id that is not ASCII", COMPLETED, valid | {"webhook-id": "msgü"}, 401),
        ("id too long", COMPLETED, valid | {"webhook-id": "x" * 300}, 401),
        ("not UTF-8", b"\xff", valid, 401),
        *[(f"body {body[:40]!r}", body, signed(app, body), 400) for body in bodies],
    ]


@pytest.mark.slow
def test_invalid_deliveries_are_refused_and_not_recorded(quiet_app: App) -> None:
    """They are answered with 401 or 400 and a code."""
    before = count_recorded(quiet_app)
    for name, body, headers, status in _invalid_deliveries(quiet_app):
        raw = {key: value.encode() for key, value in headers.items()}
        answer = deliver(quiet_app, body, raw)  # type: ignore[arg-type]
        code = {401: "invalid_signature", 400: "invalid_payload"}[status]
        assert (name, answer.status_code, answer.json()["error"]["code"]) == (name, status, code)

    assert count_recorded(quiet_app) == before


def test_a_header_with_a_control_character_is_refused(quiet_app: App) -> None:
    """Such bytes are not HTTP: 400 in the common shape, and nothing is recorded."""
    before = count_recorded(quiet_app)
    answer = deliver(quiet_app, COMPLETED, signed(quiet_app, COMPLETED) | {"webhook-id": "msg\x7f"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert answer.headers["x-request-id"]
    assert count_recorded(quiet_app) == before


def test_an_oversized_body_is_refused(quiet_app: App) -> None:
    """The response is 413, before the signature is verified."""
    before, body = count_recorded(quiet_app), b" " * 300_000 + COMPLETED
    answer = deliver(quiet_app, body, signed(quiet_app, body))

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert count_recorded(quiet_app) == before


def test_render_webhooks_require_a_secret_and_a_run_id(quiet_app: App) -> None:
    """Without a configured secret no signature is valid, and `run_id` is required."""
    run_id = quiet_app.start()
    body = b'{"render_id": "rnd_1", "status": "completed", "output_url": "http://127.0.0.1/x.mp4"}'
    path = f"/v1/webhooks/remotion?run_id={run_id}"
    before = count_recorded(quiet_app)
    unsigned = deliver(quiet_app, body, {"x-remotion-signature": "NO_SECRET_PROVIDED"}, path)
    video_secret = deliver(quiet_app, body, signed(quiet_app, body), path)
    no_run = deliver(quiet_app, body, signed(quiet_app, body), "/v1/webhooks/remotion")

    assert [answer.status_code for answer in (unsigned, video_secret, no_run)] == [401, 401, 422]
    assert count_recorded(quiet_app) == before


@pytest.mark.slow
def test_lost_webhooks_are_replaced_by_polling(app: App, sandbox: SandboxClient) -> None:
    """The clip is found although no webhook arrives."""
    sandbox.fault("webhook_drop", times=None)
    sandbox.fault("slow", seconds=1)
    run_id = app.start()
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_render", seconds=60)

    assert "webhook.received" not in [event["kind"] for event in app.events(run_id)]
    assert len(sandbox.charges(run_id)) == 1
    assert app.client.post(f"/v1/runs/{run_id}/cancel").status_code == 200


@pytest.mark.parametrize("fault", ["webhook_before_response", "create_accept_then_500"])
@pytest.mark.slow
def test_an_order_with_a_late_response_is_charged_once(app: App, sandbox: SandboxClient, fault: str) -> None:
    """A webhook before the response, or no response: the order is found and not placed again."""
    sandbox.fault(fault)
    run_id = app.start()
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_render", seconds=60)

    assert len(sandbox.charges(run_id)) == 1
    assert app.client.post(f"/v1/runs/{run_id}/cancel").status_code == 200
