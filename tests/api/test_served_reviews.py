"""A decision counts for what its sender saw: by the digest it names, or by the revision its API key was served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from runs.advance import advance
from tests.app import BEN, App

# The bodies of the API reference.
APPROVAL = {"gate": "ideation", "approved": True, "comment": "Looks good"}
PUBLICATION = {"gate": "publish", "approved": True, "comment": "Looks good"}


@pytest.fixture
def ben(quiet_app: App) -> Iterator[httpx.Client]:
    """A client with another API key."""
    with quiet_app.client_of(BEN) as client:
        yield client


@pytest.fixture
def waiting(quiet_app: App) -> dict[str, Any]:
    """A run at the ideation gate, which Anna was served."""
    return advanced(quiet_app, quiet_app.start())


def advanced(app: App, run_id: str) -> dict[str, Any]:
    app.in_loop(advance(app.state.services, run_id))
    return app.run(run_id)


def approve(client: httpx.Client, run_id: str, **fields: Any) -> tuple[int, str]:
    """Send the body of the API reference; return the status and the code of the error."""
    answer = client.post(f"/v1/runs/{run_id}/approve", json={**APPROVAL, **fields})
    return answer.status_code, answer.json().get("error", {}).get("code", "") if answer.is_error else ""


def read_stream(client: httpx.Client, run_id: str) -> None:
    """Read the stream of events until it contains the review."""
    headers = {"Accept": "text/event-stream"}
    with client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as answer:
        assert any("review.opened" in line for line in answer.iter_lines())


SERVING: dict[str, Callable[[httpx.Client, str], object]] = {
    "run": lambda client, run_id: client.get(f"/v1/runs/{run_id}"),
    "runs": lambda client, _: client.get("/v1/runs"),
    "reviews": lambda client, run_id: client.get(f"/v1/runs/{run_id}/reviews"),
    "history": lambda client, run_id: client.get(f"/v1/runs/{run_id}/history"),
    "events": lambda client, run_id: client.get(f"/v1/runs/{run_id}/events"),
    "stream": read_stream,
}


@pytest.mark.parametrize("door", SERVING)
def test_an_approval_counts_for_the_revision_that_was_served(
    quiet_app: App, ben: httpx.Client, waiting: dict[str, Any], door: str
) -> None:
    """Each answer that contains the content serves it, and repeated reads are recorded once."""
    run_id = waiting["run_id"]
    before = approve(ben, run_id)
    for _ in range(2):
        SERVING[door](ben, run_id)

    served = quiet_app.rows("select gate, revision, digest from served_reviews where run_id = %s", run_id)
    assert before == (409, "stale_review")
    assert (
        served == [{name: waiting["review"][name] for name in ("gate", "revision", "digest")}] * 2
    )  # Anna's and Ben's
    assert approve(ben, run_id) == (200, "")


@pytest.mark.parametrize("path", ["quote?clips=1", "events?after=1000000", ""])
def test_an_answer_without_the_content_serves_nothing(ben: httpx.Client, waiting: dict[str, Any], path: str) -> None:
    """Neither what has no content, nor a refusal, however often it is repeated."""
    run_id = waiting["run_id"]
    if path:
        ben.get(f"/v1/runs/{run_id}/{path}")

    assert [approve(ben, run_id) for _ in range(3)] == [(409, "stale_review")] * 3


@pytest.mark.parametrize(
    "fields", [{"approved": False, "comment": "Snow"}, {"approved": False, "comment": None}], ids=str
)
def test_every_decision_counts_for_what_was_served(ben: httpx.Client, waiting: dict[str, Any], fields: Any) -> None:
    """A request for changes and a rejection are bound to what their sender saw, like an approval."""
    run_id = waiting["run_id"]
    before = approve(ben, run_id, **fields)
    ben.get(f"/v1/runs/{run_id}")

    assert before == (409, "stale_review")
    assert approve(ben, run_id, **fields) == (200, "")


def test_an_approval_sent_after_another_revision_is_refused(
    quiet_app: App, ben: httpx.Client, waiting: dict[str, Any]
) -> None:
    """The answer has the current content; its digest, or reading it, lets the same body count."""
    run_id, url = waiting["run_id"], f"/v1/runs/{waiting['run_id']}/approve"
    ben.get(f"/v1/runs/{run_id}")
    quiet_app.decide(run_id, "ideation", approved=False, comment="Make it snow")
    second = advanced(quiet_app, run_id)["review"]
    stale = ben.post(url, json=APPROVAL).json()["error"]

    assert (stale["code"], stale["details"]) == ("stale_review", second)
    assert second["revision"] == 2
    assert quiet_app.run(run_id)["review"] == second
    assert approve(ben, run_id, digest=waiting["review"]["digest"]) == (409, "stale_review")
    assert approve(ben, run_id, digest=second["digest"]) == (200, "")


def test_a_revision_of_another_run_is_not_this_one(quiet_app: App, ben: httpx.Client, waiting: dict[str, Any]) -> None:
    """The same ideas in another run are another review."""
    other = advanced(quiet_app, quiet_app.start())
    ben.get(f"/v1/runs/{other['run_id']}")

    assert other["review"]["digest"] == waiting["review"]["digest"]
    assert approve(ben, waiting["run_id"]) == (409, "stale_review")


@pytest.mark.slow
def test_the_bodies_of_the_reference_complete_a_run(app: App) -> None:
    """Revise, read and approve, at both gates, without a digest."""
    run_id = app.start()
    url = f"/v1/runs/{run_id}/approve"
    app.until(run_id, "awaiting_ideation_approval")
    revised = app.client.post(url, json={"gate": "ideation", "approved": False, "comment": "Make it snow"})
    app.until(run_id, "awaiting_ideation_approval", revision=2)
    approved = app.client.post(url, json=APPROVAL)
    app.until(run_id, "awaiting_publish_approval")
    published = app.client.post(url, json=PUBLICATION)

    assert [answer.status_code for answer in (revised, approved, published)] == [200, 200, 200]
    assert app.until(run_id, "completed")["artifacts"]["publication"]["platforms"]
