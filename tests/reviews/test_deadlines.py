"""Overdue reviews."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from prompts.project import Project, ProjectError, read_project
from runs import worker
from tests.app import TINY_PROJECT
from tests.reviews.conftest import DEADLINE_HOURS, ManualApp, Receiver


def process_deadlines(manual_app: ManualApp) -> int:
    """Process the deadlines as a sweep does, and send the notifications."""
    processed = manual_app.app.in_loop(worker.process_deadlines(manual_app.services))
    manual_app.notify()
    return int(processed)


@pytest.mark.parametrize("project", DEADLINE_HOURS)
def test_review_has_the_deadline_of_its_project(manual_app: ManualApp, project: str) -> None:
    """The list of reviews contains the due time and the action; the digest does not depend on them."""
    run_id = manual_app.start_review(project)["run_id"]
    [review] = manual_app.app.client.get(f"/v1/runs/{run_id}/reviews").json()["reviews"]
    opened_at, due_at = (datetime.fromisoformat(review[key]) for key in ("opened_at", "due_at"))

    assert (due_at - opened_at, review["on_due"]) == (timedelta(hours=DEADLINE_HOURS[project]), project)
    assert review["digest"] == manual_app.app.run(run_id)["review"]["digest"]
    assert process_deadlines(manual_app) == 0


def test_deadline_is_shown_before_it_is_stored(manual_app: ManualApp) -> None:
    """The list of reviews contains the due time before a sweep has stored it."""
    run_id = manual_app.advance(manual_app.app.start(project="reject"))["run_id"]
    url = f"/v1/runs/{run_id}/reviews"
    [before] = manual_app.app.client.get(url).json()["reviews"]
    assert manual_app.deadline(run_id) is None
    manual_app.notify()
    [after] = manual_app.app.client.get(url).json()["reviews"]

    assert before == after
    assert after["due_at"] is not None


def test_gate_without_a_deadline_waits_forever(manual_app: ManualApp) -> None:
    """A review of a project without deadlines is never due."""
    run_id = manual_app.start_review("tiny")["run_id"]

    assert manual_app.deadline(run_id) is None
    assert manual_app.app.client.get(f"/v1/runs/{run_id}/reviews").json()["reviews"][0]["due_at"] is None


def test_reminder_is_sent_once_per_due_time(manual_app: ManualApp, receiver: Receiver) -> None:
    """The URLs that were notified of the review are notified again; the next reminder follows after the same time."""
    run_id = manual_app.start_review("remind")["run_id"]
    manual_app.make_overdue(run_id)

    assert (process_deadlines(manual_app), process_deadlines(manual_app)) == (1, 0)
    assert [each["data"]["reason"] for each in receiver.notifications_of(run_id)] == ["opened", "reminded"]
    assert receiver.notifications_of(run_id, "/boss") == []
    deadline = manual_app.deadline(run_id)
    assert deadline is not None
    assert timedelta(hours=23.9) < deadline["next_at"] - datetime.now(deadline["next_at"].tzinfo) < timedelta(hours=24)
    manual_app.make_overdue(run_id)
    assert process_deadlines(manual_app) == 1
    assert manual_app.event_kinds(run_id).count("review.reminded") == 2
    assert manual_app.app.run(run_id)["status"] == "awaiting_ideation_approval"


def test_escalation_is_sent_to_the_escalation_urls(manual_app: ManualApp, receiver: Receiver) -> None:
    """The escalation URLs are notified then, and not before."""
    run_id = manual_app.start_review("escalate")["run_id"]
    assert receiver.notifications_of(run_id, "/boss") == []
    manual_app.make_overdue(run_id)
    process_deadlines(manual_app)

    [escalation] = receiver.notifications_of(run_id, "/boss")
    review = manual_app.app.run(run_id)["review"]
    assert escalation["type"] == "run.awaiting_approval"
    assert (escalation["data"]["reason"], escalation["data"]["gate"], escalation["data"]["digest"]) == (
        "escalated",
        "ideation",
        review["digest"],
    )
    assert [each["data"]["reason"] for each in receiver.notifications_of(run_id)] == ["opened", "escalated"]


def test_rejection_is_recorded_as_a_decision(manual_app: ManualApp) -> None:
    """A decision of the deadline is in the chain, and ends the run; nothing was spent."""
    run_id = manual_app.start_review("reject")["run_id"]
    manual_app.make_overdue(run_id)
    process_deadlines(manual_app)
    run = manual_app.advance(run_id)

    assert (run["status"], run["error"]["code"], run["cost"]["spent_usd"]) == ("failed", "rejected", 0)
    [row] = manual_app.app.rows(
        "select verdict, actor_kind, actor_id, channel, comment from decisions where run_id = %s", run_id
    )
    assert row == {
        "verdict": "reject",
        "actor_kind": "deadline",
        "actor_id": "deadline",
        "channel": "deadline",
        "comment": "No decision within 48 hours.",
    }
    manual_app.make_overdue(run_id)
    process_deadlines(manual_app)
    assert manual_app.deadline(run_id)["next_at"] is None  # type: ignore[index]  # there is one


@pytest.mark.parametrize("project", DEADLINE_HOURS)
def test_decided_review_is_not_overdue(manual_app: ManualApp, project: str) -> None:
    """A due time after the decision has no effect."""
    run_id = manual_app.start_review(project)["run_id"]
    manual_app.app.decide(run_id, "ideation")
    manual_app.make_overdue(run_id)

    assert (process_deadlines(manual_app), process_deadlines(manual_app)) == (1, 0)
    assert not {"review.reminded", "review.escalated"} & set(manual_app.event_kinds(run_id))
    assert len(manual_app.app.rows("select 1 from decisions where run_id = %s", run_id)) == 1


def test_new_revision_has_its_own_deadline(manual_app: ManualApp) -> None:
    """A request for changes starts the time again."""
    run_id = manual_app.start_review("reject")["run_id"]
    manual_app.app.decide(run_id, "ideation", approved=False, comment="Make it snow")
    manual_app.advance(run_id)
    manual_app.notify()
    first, second = manual_app.app.client.get(f"/v1/runs/{run_id}/reviews").json()["reviews"]

    assert (first["open"], second["open"]) == (False, True)
    assert first["due_at"] < second["due_at"]


@pytest.mark.parametrize("project", ["remind", "reject"])
def test_one_of_several_sweepers_acts(manual_app: ManualApp, project: str) -> None:
    """Eight concurrent sweepers send one reminder, or record one decision."""
    run_id = manual_app.start_review(project)["run_id"]
    manual_app.make_overdue(run_id)

    async def process_concurrently() -> list[int]:
        return await asyncio.gather(*(worker.process_deadlines(manual_app.services) for _ in range(8)))

    assert sum(manual_app.app.in_loop(process_concurrently())) == 1
    kind = "review.reminded" if project == "remind" else "decision.recorded"
    assert manual_app.event_kinds(run_id).count(kind) == 1


def test_downtime_causes_one_reminder(manual_app: ManualApp) -> None:
    """After ten days of downtime there is one reminder, and the next one is due in the future."""
    run_id = manual_app.start_review("remind")["run_id"]
    manual_app.app.rows(
        "update review_deadlines set due_at = due_at - interval '10 days', next_at = next_at - interval '10 days'"
        " where run_id = %s returning 1",
        run_id,
    )

    assert (process_deadlines(manual_app), process_deadlines(manual_app)) == (1, 0)
    assert manual_app.event_kinds(run_id).count("review.reminded") == 1


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ("{ideation: {due_hours: 24, on_due: approve}}", "gates.ideation.on_due"),
        ("{ideation: {due_hours: 0}}", "gates.ideation.due_hours"),
        ("{ideation: {due_hours: .inf}}", "gates.ideation.due_hours"),
        ("{render: {due_hours: 24}}", "gates.render"),
        ("{ideation: {on_due: remind}}", "gates.ideation.due_hours"),
        ("{ideation: {due_hours: 24, then: remind}}", "gates.ideation.then"),
    ],
)
def test_invalid_deadline_is_refused(tmp_path: Path, rule: str, place: str) -> None:
    """No project file can declare that a review is approved without a decision."""
    path = tmp_path / "odd.md"
    path.write_text(TINY_PROJECT.replace("options:", f"gates: {rule}\noptions:"))

    with pytest.raises(ProjectError, match=place.replace(".", r"\.")):
        read_project(path)


def test_project_has_no_deadlines_by_default() -> None:
    """Gates wait forever unless the project file declares a deadline."""
    assert Project.model_fields["gates"].get_default(call_default_factory=True) == {}
