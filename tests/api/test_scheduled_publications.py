"""A film is published at the approved time: not before, once, and not at all if the run was cancelled until then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.app import App, SandboxClient, open_app
from tests.reviews.test_links import PAGE

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
#: As a person in Berlin enters it, and as it is recorded.
ENTERED, RECORDED = f"{TOMORROW + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}+01:00", f"{TOMORROW:%Y-%m-%dT%H:%M:%SZ}"
MAKE_DUE = """
update orders set next_poll_at = now(), request = jsonb_set(request, '{publish_at}', to_jsonb(now()))
where run_id = %s and kind = 'publication' returning key
"""


@pytest.fixture(scope="module")
def idle_app(postgres_server: str, migrated_template: str, sandbox_process: SandboxClient) -> Iterator[App]:
    """The product without a worker; a test starts processes with one on its database."""
    with open_app(postgres_server, migrated_template, sandbox_process, webhooks=False, with_worker=False) as opened:
        yield opened


def to_publish_gate(app: App) -> dict[str, Any]:
    """Return a run at the publish gate."""
    run_id = app.start()
    app.until(run_id, "awaiting_ideation_approval")
    app.decide(run_id, "ideation")
    return app.until(run_id, "awaiting_publish_approval", seconds=100)


def order_of(app: App, run_id: str) -> dict[str, Any]:
    """Return the order of the publication."""
    [order] = app.rows("select * from orders where run_id = %s and kind = 'publication'", run_id)
    return order


def until_order(app: App, run_id: str, **expected: Any) -> None:
    """Wait until the order of the publication has these values."""
    deadline = time.monotonic() + 30
    while {name: (order := order_of(app, run_id))[name] for name in expected} != expected:
        assert time.monotonic() < deadline, order
        time.sleep(0.05)


def scheduled(run: dict[str, Any]) -> bool:
    return bool(run["waiting"] and run["waiting"]["scheduled_for"])


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_film_is_published_at_its_time_across_a_restart(idle_app: App, sandbox: SandboxClient) -> None:
    """Whatever polls the order before; and when no worker runs at the time, as soon as one does."""
    with App(idle_app.settings, sandbox) as app:
        run = to_publish_gate(app)
        run_id, digest = run["run_id"], run["review"]["content"]["film"]["digest"]
        app.decide(run_id, "publish", publish_at=ENTERED, edits={"caption": "Later."})
        waiting = app.until_true(run_id, scheduled)["waiting"]
        assert (waiting["what"], waiting["scheduled_for"], waiting["next_attempt_at"]) == ("the post", *2 * [RECORDED])
        poll_now = "update orders set next_poll_at = now() where run_id = %s and kind = 'publication' returning 1"
        app.rows(poll_now, run_id)
        until_order(app, run_id, next_poll_at=TOMORROW, state="reserved", called_at=None)
        asleep = "select 1 from runs where id = %s and next_wakeup_at > now() + interval '23 hours'"
        app.until_true(run_id, lambda _: bool(app.rows(asleep, run_id)))

    idle_app.rows(MAKE_DUE, run_id)
    time.sleep(0.1)
    assert (order_of(idle_app, run_id)["state"], sandbox.posts(digest)) == ("reserved", [])
    with App(idle_app.settings, sandbox) as app:
        assert app.until(run_id, "completed")["artifacts"]["publication"]["caption"] == "Later."
    assert [post["platforms"] for post in sandbox.posts(digest)] == [{"tiktok": "published", "youtube": "published"}]
    entries = idle_app.client.get(f"/v1/runs/{run_id}/history").json()["entries"]
    assert [entry["text"] for entry in entries if f"to be published at {ENTERED}." in entry["text"]]
    [decision] = idle_app.rows("select * from decisions where run_id = %s and gate = 'publish'", run_id)
    assert decision["edits"] == {"caption": "Later.", "publish_at": ENTERED}
    assert decision["approved_digest"] != decision["seen_digest"]


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_cancelled_schedule_publishes_nothing(app: App, sandbox: SandboxClient) -> None:
    """Bad times decide nothing; a reviewer schedules on the page of a link, and cancelling releases the order."""
    run = to_publish_gate(app)
    run_id, digest = run["run_id"], run["review"]["content"]["film"]["digest"]
    no_time, range_ = "must be a time with its zone", "`publish_at` must be in the future, at most 90 days ahead."
    for at, message in (
        ("2026-12-01T18:00:00", no_time),
        ("tomorrow", no_time),
        ("", no_time),
        ("9999-12-31T23:59:59-10:00", no_time),
        ("2026-01-01T18:00:00+01:00", range_),
        ((TOMORROW + timedelta(days=90)).isoformat(), range_),
    ):
        for fields in ({"publish_at": at}, {"edits": {"publish_at": at}}):
            refused = app.client.post(
                f"/v1/runs/{run_id}/approve", json={"gate": "publish", "approved": True, **fields}
            )
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
            assert message in refused.json()["error"]["message"]
    for verdict in ("revise", "reject"):
        body = {"gate": "publish", "approved": False, "decision": verdict, "comment": "Later", "publish_at": ENTERED}
        refused = app.client.post(f"/v1/runs/{run_id}/approve", json=body)
        assert refused.json()["error"]["message"] == "`publish_at` requires an approval at the publish gate."

    url = app.client.post(f"/v1/runs/{run_id}/reviews/link", json={"gate": "publish"}).json()["url"]
    assert 'name="publish_at"' in httpx.get(url, headers=PAGE).text
    fields = {"action": "approve 0.0000", "digest": run["review"]["digest"], "publish_at": "tomorrow"}
    page = httpx.post(url, headers=PAGE, files={name: (None, value) for name, value in fields.items()})
    assert (page.status_code, 'value="tomorrow"' in page.text, no_time[1:] in page.text) == (422, True, True)
    assert app.run(run_id)["status"] == "awaiting_publish_approval"
    fields["publish_at"] = ENTERED
    page = httpx.post(url, headers=PAGE, files={name: (None, value) for name, value in fields.items()})
    assert "the film is scheduled for" in page.text
    app.until_true(run_id, scheduled)
    app.client.post(f"/v1/runs/{run_id}/cancel")
    until_order(app, run_id, state="failed", called_at=None)
    assert order_of(app, run_id)["result"]["code"] == "cancelled"

    app.rows(MAKE_DUE, run_id)
    time.sleep(1.0)  # the sweeper claims what is due
    assert (sandbox.posts(digest), app.run(run_id)["error"]["code"]) == ([], "cancelled")
