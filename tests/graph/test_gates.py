"""A gate takes an answer in any form that Studio and the inboxes send, and no other."""

from typing import Any

import pytest
from pydantic import ValidationError

from graph.gates import Decision
from tests.graph.fakes import RunHarness, idea

IDEAS = [idea("Fog"), idea("Ice"), idea("Sun")]
EDITED = {"name": "make_clips", "args": {"title": "Rain", "ideas": IDEAS}}

YES: dict[str, Any] = {"verdict": "approve"}
NO: dict[str, Any] = {"verdict": "reject"}
CHANGES: dict[str, Any] = {"verdict": "revise", "comment": "brighter"}

FORMS: list[tuple[Any, dict[str, Any]]] = [
    ({"verdict": "approve", "number": 7}, YES | {"number": 7}),
    ({"verdict": "revise", "comment": "brighter", "clips": [2]}, CHANGES | {"clips": [{"clip": 2, "comment": ""}]}),
    # Agent Chat UI and the middleware of LangChain
    ({"decisions": [{"type": "approve"}]}, YES),
    ({"decisions": [{"type": "edit", "edited_action": EDITED}]}, YES | {"edits": IDEAS}),
    ({"decisions": [{"type": "reject", "message": "brighter"}]}, CHANGES),
    ({"decisions": [{"type": "reject"}]}, NO),
    ({"decisions": [{"type": "respond", "message": "brighter"}]}, CHANGES),
    ([{"type": "approve"}], YES),
    ({"type": "approve"}, YES),
    # Agent Inbox
    ([{"type": "accept", "args": None}], YES),
    ([{"type": "ignore", "args": None}], NO),
    ([{"type": "response", "args": "brighter"}], CHANGES),
    ([{"type": "edit", "args": {"action": "make_clips", "args": {"ideas": IDEAS}}}], YES | {"edits": IDEAS}),
    # typed by hand
    (True, YES),
    (False, NO),
    ([True], YES),
    ({"approved": True}, YES),
    ({"approved": True, "comment": "brighter"}, YES | {"comment": "brighter"}),
    ({"approved": False, "comment": "brighter"}, CHANGES),
    ({"approved": False, "comment": None}, NO),
    ({"approved": False}, NO),
]

JUNK: list[Any] = [
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
    {"type": "edit", "edited_action": {"name": "make_clips", "args": {"ideaz": []}}},
]


@pytest.mark.parametrize(("form", "meant"), FORMS, ids=str)
def test_every_form_means_one_decision(form: Any, meant: dict[str, Any]) -> None:
    """Whoever asks, the gate hears the same."""
    assert Decision.model_validate(form).model_dump(exclude_defaults=True) == meant


@pytest.mark.parametrize("junk", JUNK, ids=str)
def test_junk_is_no_decision(junk: Any) -> None:
    """What is not clearly a decision is refused, and never taken for a yes."""
    with pytest.raises(ValidationError):
        Decision.model_validate(junk)


@pytest.mark.parametrize("junk", ["sure", {"decisions": []}, {"approved": "yes"}], ids=str)
async def test_junk_keeps_the_gate_open(junk: Any) -> None:
    """The gate asks the same again, nothing was ordered, and a proper answer still counts."""
    line = RunHarness()
    question = await line.begin()
    with pytest.raises(ValidationError):
        await line.answer(junk)

    assert await line.question() == question
    assert line.ledger.orders == {}
    assert "orders" in await line.answer({"decisions": [{"type": "approve"}]})
    assert len(line.ledger.of("clip")) == 3


async def test_edits_that_do_not_fit_keep_the_gate_open() -> None:
    """An edited list of another length is no approval of anything."""
    line = RunHarness()
    question = await line.begin()
    with pytest.raises(ValueError, match="3 ideas were shown, and 4 came back"):
        await line.answer({"verdict": "approve", "edits": [idea("Fog")] * 4})

    assert await line.question() == question
    assert line.ledger.orders == {}
