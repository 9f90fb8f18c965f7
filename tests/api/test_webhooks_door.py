"""What providers tell us at the webhooks: kept once, trusted only when signed, and never a 500."""

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

#: As captured from the provider's dashboard; the API reference shows both.
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
STRANGER = "whsec_" + base64.b64encode(b"somebody else's secret key").decode()


def signed(app: App, body: bytes, *, secret: str = "", name: str = "", at: datetime | None = None) -> dict[str, str]:
    """The headers of a delivery."""
    (ours,) = app.settings.video_webhook_secrets or []
    name = name or f"msg_{uuid4().hex}"
    return sign(parse_secret(secret or ours.get_secret_value()), id=name, at=at or datetime.now(UTC), body=body)


def deliver(app: App, body: bytes, headers: dict[str, str], path: str = "/v1/webhooks/sora") -> httpx.Response:
    """Without an API key, as a provider does."""
    return httpx.post(f"{app.url}{path}", content=body, headers={"content-type": "application/json", **headers})


def kept(app: App) -> int:
    (row,) = app.rows("select count(*) as n from events where kind = 'webhook.received'")
    return int(row["n"])


@pytest.mark.parametrize("body", [COMPLETED, FAILED], ids=["completed", "failed"])
def test_the_captured_events_are_accepted(quiet_app: App, body: bytes) -> None:
    """Also of a video that nobody knows yet; told again it is a duplicate, kept once."""
    before, headers = kept(quiet_app), signed(quiet_app, body)

    assert deliver(quiet_app, body, headers).json() == {"status": "accepted"}
    again = deliver(quiet_app, body, headers)
    assert (again.status_code, again.json()) == (200, {"status": "duplicate"})
    assert kept(quiet_app) == before + 1
    event = quiet_app.rows("select * from events where external_id = %s", headers["webhook-id"])[0]
    assert (event["source"], event["subject"], event["run_id"]) == ("sora", "video_abc123", None)


def test_the_hint_of_the_reference(quiet_app: App) -> None:
    """`?run_id=` says which run an unknown video may belong to; a run that is not there is no harm."""
    run_id = quiet_app.start()
    for hint, seen in ((run_id, run_id), (str(uuid4()), None)):
        headers = signed(quiet_app, COMPLETED)
        answer = deliver(quiet_app, COMPLETED, headers, f"/v1/webhooks/sora?run_id={hint}")
        assert answer.json() == {"status": "accepted"}
        event = quiet_app.rows("select run_id::text from events where external_id = %s", headers["webhook-id"])[0]
        assert event["run_id"] == seen
    assert quiet_app.run(run_id)["status"] == "pending"


async def test_twenty_at_once_are_one(quiet_app: App) -> None:
    """One is accepted, the others are duplicates, and one row is kept."""
    before, headers = kept(quiet_app), signed(quiet_app, COMPLETED)
    async with httpx.AsyncClient(base_url=quiet_app.url, timeout=30) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/webhooks/sora", content=COMPLETED, headers=headers) for _ in range(20))
        )

    assert Counter(answer.json().get("status") for answer in answers) == {"accepted": 1, "duplicate": 19}
    assert {answer.status_code for answer in answers} == {200}
    assert kept(quiet_app) == before + 1


def test_other_events_are_ignored(quiet_app: App) -> None:
    """Signed, but of no type that concerns us."""
    before = kept(quiet_app)
    body = json.dumps({"type": "batch.completed", "data": {"id": "batch_1"}}).encode()

    assert deliver(quiet_app, body, signed(quiet_app, body)).json() == {"status": "ignored"}
    assert kept(quiet_app) == before


def _broken(app: App) -> list[tuple[str, bytes, dict[str, str], int]]:
    good, now = signed(app, COMPLETED), datetime.now(UTC)
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
        ("forged", COMPLETED, signed(app, COMPLETED, secret=STRANGER), 401),
        ("stale", COMPLETED, signed(app, COMPLETED, at=now - timedelta(seconds=301)), 401),
        ("from the future", COMPLETED, signed(app, COMPLETED, at=now + timedelta(seconds=310)), 401),
        ("another body", FAILED, good, 401),
        ("another id", COMPLETED, good | {"webhook-id": "msg_other"}, 401),
        ("another time", COMPLETED, good | {"webhook-timestamp": str(int(now.timestamp()) + 1)}, 401),
        *[
            (f"signature {text!r}", COMPLETED, good | {"webhook-signature": text}, 401)
            for text in ("garbage", "v1", "v1,", "v1,abc", "", "v1,ü", "v2," + good["webhook-signature"][3:])
        ],
        *[
            (f"time {text!r}", COMPLETED, good | {"webhook-timestamp": text}, 401)
            for text in ("", "now", "-1", "1e9", "9" * 30, "٣")
        ],
        ("id with a NUL", COMPLETED, good | {"webhook-id": "msg\x7f"}, 401),
        ("id too long", COMPLETED, good | {"webhook-id": "x" * 300}, 401),
        ("not UTF-8", b"\xff", good, 401),
        *[(f"body {body[:40]!r}", body, signed(app, body), 400) for body in bodies],
    ]


def test_what_cannot_be_trusted_or_understood_is_not_kept(quiet_app: App) -> None:
    """4xx with a code, nothing stored, and never a 500."""
    before = kept(quiet_app)
    for name, body, headers, status in _broken(quiet_app):
        raw = {key: value.encode() for key, value in headers.items()}
        answer = deliver(quiet_app, body, raw)  # type: ignore[arg-type]
        code = {401: "invalid_signature", 400: "invalid_payload"}[status]
        assert (name, answer.status_code, answer.json()["error"]["code"]) == (name, status, code)

    assert kept(quiet_app) == before


def test_an_oversized_body_is_not_read(quiet_app: App) -> None:
    """413 before anybody looks at its signature."""
    before, body = kept(quiet_app), b" " * 300_000 + COMPLETED
    answer = deliver(quiet_app, body, signed(quiet_app, body))

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert kept(quiet_app) == before


def test_renders_are_told_to_the_run_that_asked(quiet_app: App) -> None:
    """Nobody can sign without a secret, and `run_id` is needed."""
    run_id = quiet_app.start()
    body = b'{"render_id": "rnd_1", "status": "completed", "output_url": "http://127.0.0.1/x.mp4"}'
    path = f"/v1/webhooks/remotion?run_id={run_id}"
    before = kept(quiet_app)
    unsigned = deliver(quiet_app, body, {"x-remotion-signature": "NO_SECRET_PROVIDED"}, path)
    by_video = deliver(quiet_app, body, signed(quiet_app, body), path)
    nowhere = deliver(quiet_app, body, signed(quiet_app, body), "/v1/webhooks/remotion")

    assert [answer.status_code for answer in (unsigned, by_video, nowhere)] == [401, 401, 422]
    assert kept(quiet_app) == before


def test_lost_webhooks_are_not_missed(app: App, sandbox: SandboxClient) -> None:
    """The clip is found by looking; forged, stale and foreign ones on the way change nothing."""
    sandbox.fault("webhook_drop", times=None)
    sandbox.fault("slow", seconds=1)
    run_id = app.start()
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_render", seconds=60)

    assert "webhook.received" not in [event["kind"] for event in app.events(run_id)]
    assert len(sandbox.charges(run_id)) == 1
    assert app.client.post(f"/v1/runs/{run_id}/cancel").status_code == 200


@pytest.mark.parametrize("trick", ["webhook_before_response", "create_accept_then_500"])
def test_an_order_whose_answer_came_late_is_paid_once(app: App, sandbox: SandboxClient, trick: str) -> None:
    """Told before the answer was there, or never answered: it is found, and not ordered again."""
    sandbox.fault(trick)
    run_id = app.start()
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    app.until(run_id, "awaiting_render", seconds=60)

    assert len(sandbox.charges(run_id)) == 1
    assert app.client.post(f"/v1/runs/{run_id}/cancel").status_code == 200
