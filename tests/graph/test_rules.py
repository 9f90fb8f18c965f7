"""The rules that ideas are made with: those of the project when the run came to the ideator."""

from __future__ import annotations

import pytest
from langgraph.store.memory import InMemoryStore

from graph.graph import build_run_graph
from graph.review_content import describe_clips, parse_content
from graph.rules import StoredRules, rules_namespace
from providers.base import Unavailable
from tests.graph.fakes import RunHarness


async def approve(store: InMemoryStore, *rules: str) -> None:
    await store.aput(rules_namespace("trio"), "approved", StoredRules(rules=list(rules)).model_dump())


async def test_a_step_that_runs_again_keeps_its_rules() -> None:
    """Rules that are approved between two attempts of the ideator count for the next ideas only."""
    run, store = RunHarness(), InMemoryStore()
    run.graph = build_run_graph(run.deps).compile(checkpointer=run.saver, store=store)
    await approve(store, "no hands")
    run.moderation.unavailable = True
    with pytest.raises(Unavailable):
        await run.start()  # the brief
    run.moderation.unavailable = False
    await run.resume()
    assert (await run.pending())["content"]["follows"] == ["no hands"]

    run.moderation.unavailable = True
    with pytest.raises(Unavailable):
        await run.answer({"verdict": "revise", "comment": "Wider", "number": 1})
    await approve(store, "no cars", "no boats")
    run.moderation.unavailable = False
    second = await run.resume()
    assert second["content"]["follows"] == ["no hands"]
    third = await run.answer({"verdict": "revise", "comment": "Closer", "number": 2})
    assert third["content"]["follows"] == ["no cars", "no boats"]
    requests = [text for schema, text in run.model.requests if schema == "Ideas"]
    assert ["no hands" in text for text in requests] == [True, True, False]
    assert "Follows: no cars; no boats." in describe_clips(parse_content(third["content"]))


async def test_ideas_without_rules_are_what_they_were() -> None:
    """Without a store, without rules and from an earlier version, the content and its digest have no new field."""
    run = RunHarness()
    first = await run.start()
    await run.graph.aupdate_state(run.config, {"rules": []}, as_node="supervisor")

    assert "follows" not in first["content"]
    assert "rules" not in "".join(text for _, text in run.model.requests)
    older = {name: value for name, value in (await run.state())["ideas"].items() if name != "follows"}
    assert parse_content({**older, "gate": "ideation"}).digest == first["digest"]
