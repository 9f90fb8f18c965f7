"""“What videos should I make today?”: proposals from what was made, published and rejected, and from what is left."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from runs.planning import get_planning_facts
from sandbox.supervisor_dialogue import SUGGESTIONS
from tests.app import App, SandboxClient
from tests.chat.conversation import decisions, run_in, say, start_at_gate

PROPOSAL = re.compile(r"^(\d)\. ([a-z0-9_-]+): (.+)\n +(\d+\.\d\d) USD", re.MULTILINE)


def test_three_videos_are_proposed_for_today(app: App, sandbox: SandboxClient) -> None:
    """Dated and priced; none was made in the last two weeks. “Make the second one” starts it, and approves nothing."""
    made = start_at_gate(app, SUGGESTIONS[0])
    answer = say(app, "What videos should I make today?")
    proposals = PROPOSAL.findall(answer["response"])

    assert f"{datetime.now(UTC):%Y-%m-%d}" in answer["response"]
    assert [number for number, *_ in proposals] == ["1", "2", "3"]
    assert len({brief for _, _, brief, _ in proposals} - {SUGGESTIONS[0]}) == 3
    assert all(float(usd) > 0 for *_, usd in proposals)

    started = say(app, "make the second one", answer["session_id"])
    run = app.run(run_in(started["response"]))
    assert (run["project"], run["brief"]) == proposals[1][1:3]
    assert started["pending_decisions"] == decisions(app, made) == decisions(app, run["run_id"]) == []


def test_the_facts_name_what_became_of_recent_runs(app: App, sandbox: SandboxClient) -> None:
    """A rejection has its reason; a run that was made three weeks ago is left out."""
    rejected, old = start_at_gate(app, "A rejected brief"), start_at_gate(app, "An old brief")
    app.decide(rejected, "ideation", approved=False, decision="reject", comment="Too dark for us")
    app.until(rejected, "failed")
    app.rows("update runs set created_at = now() - interval '21 days' where id = %s returning id", old)
    facts = app.in_loop(get_planning_facts(app.state.services))
    by_brief = {run.brief: run for run in facts.runs}

    assert (by_brief["A rejected brief"].outcome, by_brief["A rejected brief"].why) == ("rejected", "Too dark for us")
    assert "An old brief" not in by_brief
    assert facts.today - datetime.now(UTC).date() <= timedelta(0)
    assert {each.project for each in facts.projects} == {"aismr", "calm", "shorts", "tiny"}
    assert all(each.usd_per_film and each.left_usd > 0 for each in facts.projects)
