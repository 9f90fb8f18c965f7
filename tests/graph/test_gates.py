"""A gate accepts a decision in every form that Studio and the agent inboxes send, and no other."""

from typing import Any

import pytest
from pydantic import ValidationError

from graph.decisions import RecordedDecision
from graph.nodes.orders import StepFailed
from graph.review_content import content_at
from tests.graph.fakes import RunHarness, idea
from tests.graph.inbox_clients import AgentChatUI, AgentInbox, typed

IDEAS = [idea("Fog"), idea("Ice"), idea("Sun")]
EDITED = {"name": "make_clips", "args": {"ideas": IDEAS}}

APPROVE: dict[str, Any] = {"verdict": "approve"}
REJECT: dict[str, Any] = {"verdict": "reject"}
REVISE: dict[str, Any] = {"verdict": "revise", "comment": "brighter"}

FORMS: list[tuple[Any, dict[str, Any]]] = [
    ({"verdict": "approve", "number": 7}, APPROVE | {"number": 7}),
    ({"verdict": "revise", "comment": "brighter", "clips": [2]}, REVISE | {"clips": [{"clip": 2}]}),
    # Agent Chat UI and the middleware of LangChain
    ({"decisions": [{"type": "approve"}]}, APPROVE),
    ({"decisions": [{"type": "edit", "edited_action": EDITED}]}, APPROVE | {"edits": IDEAS}),
    ({"decisions": [{"type": "reject", "message": "brighter"}]}, REVISE),
    ({"decisions": [{"type": "reject"}]}, REJECT),
    ({"decisions": [{"type": "respond", "message": "brighter"}]}, REVISE),
    ([{"type": "approve"}], APPROVE),
    ({"type": "approve"}, APPROVE),
    # Agent Inbox
    ([{"type": "accept", "args": None}], APPROVE),
    ([{"type": "response", "args": "brighter"}], REVISE),
    ([{"type": "edit", "args": {"action": "make_clips", "args": {"ideas": IDEAS}}}], APPROVE | {"edits": IDEAS}),
    # entered by hand
    (True, APPROVE),
    (False, REJECT),
    ([True], APPROVE),
    ({"approved": True}, APPROVE),
    ({"approved": True, "comment": "brighter"}, APPROVE | {"comment": "brighter"}),
    ({"approved": False, "comment": "brighter"}, REVISE),
    ({"approved": False, "comment": None}, REJECT),
    ({"approved": False}, REJECT),
]

INVALID: list[Any] = [
    "yes",
    "approve",
    "",
    1,
    [],
    {},
    [True, True],
    {"approved": "yes"},
    {"approved": 1},
    {"verdict": "maybe"},
    {"verdict": "approve", "surprise": 1},
    {"decisions": []},
    {"decisions": "approve"},
    {"decisions": [{"type": "approve"}, {"type": "approve"}]},
    {"decisions": [{"type": "dance"}]},
    {"type": "reject", "message": {"not": "text"}},
    {"type": ["approve"]},
    {"type": "edit", "args": "text"},
    {"type": "edit"},
    [{"type": "ignore", "args": None}],
    {"type": "edit", "edited_action": {"name": "make_clips", "args": {"ideaz": []}}},
]


@pytest.mark.parametrize(("form", "decision"), FORMS, ids=str)
def test_every_form_means_one_decision(form: Any, decision: dict[str, Any]) -> None:
    """The form depends on the client, its meaning does not."""
    assert RecordedDecision.model_validate(form).model_dump(exclude_defaults=True) == decision


@pytest.mark.parametrize("value", INVALID, ids=str)
def test_an_invalid_value_is_no_decision(value: Any) -> None:
    """A value that is not clearly a decision is refused, and never counts as an approval."""
    with pytest.raises(ValidationError):
        RecordedDecision.model_validate(value)


@pytest.mark.parametrize("value", ["sure", {"decisions": []}, {"approved": "yes"}], ids=str)
async def test_an_invalid_value_keeps_the_gate_open(value: Any) -> None:
    """The gate waits with the same review, nothing was ordered, and a valid decision still counts."""
    run = RunHarness()
    run.records.next_number = 1
    pending = await run.start()
    with pytest.raises(ValidationError):
        await run.answer(value)

    assert await run.pending() == pending
    assert run.ledger.orders == {}
    assert run.records.decisions == []
    assert "orders" in await run.answer({"decisions": [{"type": "approve"}]})
    assert len(run.ledger.orders_of("clip")) == 3


CLIENTS = pytest.mark.parametrize("client", [AgentInbox, AgentChatUI])


async def _refused(run: RunHarness, answer: Any, words: str) -> None:
    """The answer is refused with these words, and the gate stays open as it was."""
    pending, orders = await run.pending(), dict(run.ledger.orders)
    with pytest.raises(ValidationError, match=words):
        await run.answer(answer)

    assert await run.pending() == pending
    assert run.ledger.orders == orders


@CLIENTS
async def test_inboxes_edit_ideas(client: type[AgentInbox | AgentChatUI]) -> None:
    """The list comes back as the text that a person typed; what is no JSON, fixed, or no change is refused in words."""
    run = RunHarness()
    run.records.next_number = 1
    pending = await run.start()
    person, ideas = client(pending), pending["content"]["ideas"]
    edited = [{**ideas[0], "overlay": "Fog at dawn"}, *ideas[1:]]
    for changes, words in (
        ({"ideas": typed(ideas)}, "the edit changes nothing. Approve instead"),
        ({}, "the edit changes nothing. Approve instead"),
        ({"ideas": typed(ideas)[:-1]}, "ideas: not valid JSON"),
        ({"ideas": "[]"}, "expected 3 ideas, got 0"),
        ({"ideas": typed([{**ideas[0], "title": ""}, *ideas[1:]])}, "edits"),
        ({"title": "Another"}, "title: cannot be edited here. Reject with a comment to request a change"),
        ({"seconds": "60", "title": "Another"}, "seconds, title: cannot be edited here"),
        ({"estimated_usd": "0"}, "estimated_usd: cannot be edited here"),
    ):
        await _refused(run, person.edit(**changes), words)
    await run.answer(person.edit(ideas=typed(edited)))

    assert (await run.state())["ideas"]["ideas"] == edited
    assert [decision.edits for _, _, decision in run.records.decisions] == [edited]
    assert len(run.ledger.orders_of("clip")) == 3


@CLIENTS
async def test_inboxes_edit_the_film(client: type[AgentInbox | AgentChatUI]) -> None:
    """Caption, hashtags and platforms are approved, overlays need another film; all else is refused in words."""
    run = RunHarness()
    run.records.next_number = 1
    pending = await run.run_to_publish_gate()
    person, clips = client(pending), pending["content"]["clips"]
    for changes, words in (
        ({"platforms": '["nowhere"]'}, "edits.platforms: choose from"),
        ({"platforms": "[]"}, "edits.platforms: choose from"),
        ({"title": "Another"}, "title: cannot be edited here"),
        ({"clips": typed([{**clips[0], "take": 9}, *clips[1:]])}, "clips: only `overlay` can be edited here"),
        ({"clips": typed(clips[1:])}, "clips: only `overlay` can be edited here"),
        ({"clips": '"all"'}, "clips: only `overlay` can be edited here"),
        ({"clips": typed([{**clips[0], "overlay": "x" * 900}, *clips[1:]])}, "edits.overlays.1"),
        ({"caption": pending["content"]["caption"]}, "the edit changes nothing"),
    ):
        await _refused(run, person.edit(**changes), words)
    overlays = typed([{**clips[0], "overlay": "Fog at dawn"}, *clips[1:]])
    await run.answer(person.edit(caption="Sun.", clips=overlays))
    pending = await run.settle_orders()
    person, run.records.next_number = client(pending), 2
    await run.answer(person.edit(hashtags='["#sun"]'))

    assert [(decision.verdict, decision.edits) for _, _, decision in run.records.decisions] == [
        ("revise", {"caption": "Sun.", "overlays": {"1": "Fog at dawn"}}),
        ("approve", {"hashtags": ["#sun"]}),
    ]
    assert (pending["gate"], pending["revision"]) == ("publish", 2)
    assert (pending["content"]["clips"][0]["overlay"], pending["content"]["caption"]) == ("Fog at dawn", "Sun.")
    assert (await run.state())["caption"]["hashtags"] == ["#sun"]


@CLIENTS
async def test_inboxes_answer(client: type[AgentInbox | AgentChatUI]) -> None:
    """A comment requests changes, an approval approves, and Ignore leaves the gate open."""
    run = RunHarness()
    run.records.next_number = 1
    person = client(await run.start())
    if isinstance(person, AgentInbox):
        await _refused(run, person.ignore(), "an ignored review stays open")
    await run.answer(person.respond("brighter"))
    run.records.next_number = 2
    await run.answer(person.accept())

    decided = [(decision.verdict, decision.comment) for _, _, decision in run.records.decisions]
    assert decided == [("revise", "brighter"), ("approve", "")]


async def test_edits_that_do_not_fit_keep_the_gate_open() -> None:
    """An edited list without ideas approves nothing."""
    run = RunHarness()
    pending = await run.start()
    with pytest.raises(ValueError, match="expected 3 ideas, got 0"):
        await run.answer({"verdict": "approve", "edits": []})

    assert await run.pending() == pending
    assert run.ledger.orders == {}


@pytest.mark.parametrize("verdict", ["approve", "revise", "reject"])
async def test_the_approved_digest_is_that_of_the_approved_content(verdict: str) -> None:
    """An approval covers the edited content, a request for changes the content as presented, a rejection nothing."""
    run = RunHarness()
    presented = (await run.run_to_publish_gate())["digest"]
    await run.answer({"verdict": verdict, "edits": {"caption": "Sun."}, "number": 2})
    edited = content_at("publish", await run.state()).digest

    digests = {"approve": edited, "revise": presented, "reject": None}
    assert presented != edited
    assert (await run.state())["decisions"]["publish"]["approved_digest"] == digests[verdict]


async def test_an_unrecorded_decision_is_recorded_by_studio() -> None:
    """Studio resumes a gate without a number: the gate records the decision and orders under the number it gets."""
    run = RunHarness()
    run.records.next_number = 7
    await run.start()
    await run.answer(True)

    ((run_id, review, decision),) = run.records.decisions
    assert (run_id, review.gate, review.revision, decision.verdict) == (run.id, "ideation", 1, "approve")
    assert {order.approval and order.approval.decision for order in run.ledger.orders_of("clip")} == {7}


async def test_an_unrecorded_decision_orders_nothing_in_the_product() -> None:
    """The product records decisions before it resumes a run: a value without a number is refused."""
    run = RunHarness()
    await run.start()
    with pytest.raises(StepFailed) as failed:
        await run.answer(True)

    assert failed.value.code == "decision_not_recorded"
    assert run.ledger.orders == {}
