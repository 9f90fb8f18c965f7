"""What happens when nobody decides in time."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from prompts.project import Project, ProjectError, read_project
from runs import deadlines
from tests.app import TINY_PROJECT
from tests.reviews.conftest import DEADLINES, Desk, Receiver


def act(desk: Desk) -> int:
    """What a sweep does about due times, and the notices of it."""
    done = desk.app.in_loop(deadlines.process_deadlines(desk.services))
    desk.tell()
    return int(done)


@pytest.mark.parametrize("project", DEADLINES)
def test_a_review_is_due_as_long_after_it_opened_as_the_project_says(desk: Desk, project: str) -> None:
    """The list of reviews names the time, and what happens then; the digest knows nothing of times."""
    run_id = desk.at_ideation(project)["run_id"]
    [review] = desk.app.client.get(f"/v1/runs/{run_id}/reviews").json()["reviews"]
    opened_at, due_at = (datetime.fromisoformat(review[key]) for key in ("opened_at", "due_at"))

    assert (due_at - opened_at, review["on_due"]) == (timedelta(hours=DEADLINES[project]), project)
    assert review["digest"] == desk.app.run(run_id)["review"]["digest"]
    assert act(desk) == 0


def test_the_due_time_is_known_from_the_first_moment(desk: Desk) -> None:
    """Before any sweep has written it down."""
    run_id = desk.advance(desk.app.start(project="reject"))["run_id"]
    url = f"/v1/runs/{run_id}/reviews"
    [before] = desk.app.client.get(url).json()["reviews"]
    assert desk.due(run_id) is None
    desk.tell()
    [after] = desk.app.client.get(url).json()["reviews"]

    assert before == after
    assert after["due_at"] is not None


def test_a_gate_without_a_deadline_waits_for_ever(desk: Desk) -> None:
    """Nothing is due."""
    run_id = desk.at_ideation("tiny")["run_id"]

    assert desk.due(run_id) is None
    assert desk.app.client.get(f"/v1/runs/{run_id}/reviews").json()["reviews"][0]["due_at"] is None


def test_a_reminder_is_told_once_for_each_due_time(desk: Desk, receiver: Receiver) -> None:
    """Those who were told of the review are told again; the next reminder comes as long after."""
    run_id = desk.at_ideation("remind")["run_id"]
    desk.let_it_be_due(run_id)

    assert (act(desk), act(desk)) == (1, 0)
    assert [said["data"]["why"] for said in receiver.of(run_id)] == ["opened", "reminded"]
    assert receiver.of(run_id, "/boss") == []
    due = desk.due(run_id)
    assert due is not None
    assert timedelta(hours=23.9) < due["next_at"] - datetime.now(due["next_at"].tzinfo) < timedelta(hours=24)
    desk.let_it_be_due(run_id)
    assert act(desk) == 1
    assert desk.kinds(run_id).count("review.reminded") == 2
    assert desk.app.run(run_id)["status"] == "awaiting_ideation_approval"


def test_an_escalation_is_told_to_others_too(desk: Desk, receiver: Receiver) -> None:
    """The addresses for escalations hear of it then, and not before."""
    run_id = desk.at_ideation("escalate")["run_id"]
    assert receiver.of(run_id, "/boss") == []
    desk.let_it_be_due(run_id)
    act(desk)

    [said] = receiver.of(run_id, "/boss")
    review = desk.app.run(run_id)["review"]
    assert said["type"] == "run.awaiting_approval"
    assert (said["data"]["why"], said["data"]["gate"], said["data"]["digest"]) == (
        "escalated",
        "ideation",
        review["digest"],
    )
    assert [each["data"]["why"] for each in receiver.of(run_id)] == ["opened", "escalated"]


def test_a_rejection_is_a_decision_like_any_other(desk: Desk) -> None:
    """It stands in the chain under the name of the deadline, and ends the run; nothing was spent."""
    run_id = desk.at_ideation("reject")["run_id"]
    desk.let_it_be_due(run_id)
    act(desk)
    run = desk.advance(run_id)

    assert (run["status"], run["error"]["code"], run["cost"]["spent_usd"]) == ("failed", "rejected", 0)
    [row] = desk.app.rows("select verdict, decided_by, channel, comment from decisions where run_id = %s", run_id)
    assert row == {
        "verdict": "reject",
        "decided_by": "deadline",
        "channel": "deadline",
        "comment": "Nobody decided within 48 hours.",
    }
    desk.let_it_be_due(run_id)
    act(desk)
    assert desk.due(run_id)["next_at"] is None  # type: ignore[index]


@pytest.mark.parametrize("project", DEADLINES)
def test_who_decided_in_time_is_left_alone(desk: Desk, project: str) -> None:
    """A due time that comes after the decision does nothing."""
    run_id = desk.at_ideation(project)["run_id"]
    desk.app.decide(run_id, "ideation")
    desk.let_it_be_due(run_id)

    assert (act(desk), act(desk)) == (1, 0)
    assert not {"review.reminded", "review.escalated"} & set(desk.kinds(run_id))
    assert len(desk.app.rows("select 1 from decisions where run_id = %s", run_id)) == 1


def test_a_new_revision_has_a_due_time_of_its_own(desk: Desk) -> None:
    """Asking for changes begins the time anew."""
    run_id = desk.at_ideation("reject")["run_id"]
    desk.app.decide(run_id, "ideation", approved=False, comment="Make it snow")
    desk.advance(run_id)
    desk.tell()
    first, second = desk.app.client.get(f"/v1/runs/{run_id}/reviews").json()["reviews"]

    assert (first["open"], second["open"]) == (False, True)
    assert first["due_at"] < second["due_at"]


@pytest.mark.parametrize("project", ["remind", "reject"])
def test_of_many_sweepers_one_acts(desk: Desk, project: str) -> None:
    """Eight at once send one reminder, or make one decision."""
    run_id = desk.at_ideation(project)["run_id"]
    desk.let_it_be_due(run_id)

    async def together() -> list[int]:
        return await asyncio.gather(*(deadlines.process_deadlines(desk.services) for _ in range(8)))

    assert sum(desk.app.in_loop(together())) == 1
    assert desk.kinds(run_id).count("review.reminded" if project == "remind" else "decision.recorded") == 1


def test_a_long_standstill_is_made_up_for_once(desk: Desk) -> None:
    """Ten days late, there is one reminder, and the next is due in the future."""
    run_id = desk.at_ideation("remind")["run_id"]
    desk.app.rows(
        "update review_deadlines set due_at = due_at - interval '10 days', next_at = next_at - interval '10 days'"
        " where run_id = %s returning 1",
        run_id,
    )

    assert (act(desk), act(desk)) == (1, 0)
    assert desk.kinds(run_id).count("review.reminded") == 1


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
def test_a_project_cannot_say_anything_else(tmp_path: object, rule: str, place: str) -> None:
    """Nothing is ever approved by waiting: no project file can say so."""
    path = tmp_path / "odd.md"  # type: ignore[operator]
    path.write_text(TINY_PROJECT.replace("options:", f"gates: {rule}\noptions:"))

    with pytest.raises(ProjectError, match=place.replace(".", r"\.")):
        read_project(path)


def test_a_project_may_say_nothing() -> None:
    """Gates wait for ever unless the file says otherwise."""
    assert Project.model_fields["gates"].get_default(call_default_factory=True) == {}
