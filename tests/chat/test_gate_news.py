"""A chat session hears in the next answer when a gate of its runs opens."""

from __future__ import annotations

import re
from uuid import uuid4

from tests.app import App, SandboxClient
from tests.chat.conversation import confirmation, run_in, say


def test_the_next_answer_says_that_a_gate_opened(app: App, sandbox: SandboxClient) -> None:
    """Once, with a link named by the title and the short id of the run; other sessions hear nothing."""
    started = say(app, f"Make a video about herons {uuid4().hex[:4]} in project tiny")
    session, run_id = started["session_id"], run_in(started["response"])
    title = app.until(run_id, "awaiting_ideation_approval")["review"]["content"]["title"]
    answers = [say(app, "What projects are there?", session)["response"] for _ in range(2)]
    pattern = rf"The ideation gate of run {run_id[:8]} opened: \[(.+?)\]\(\S+/runs/{run_id}/ideation\)"
    link = re.match(pattern, answers[0])

    assert link
    assert link[1] in title
    assert "gate of run" not in started["response"] + answers[1] + say(app, "What projects are there?")["response"]

    say(app, confirmation(say(app, "approve it", session)["response"]), session)
    app.until(run_id, "awaiting_publish_approval")
    assert say(app, "approve A2C3", session)["response"]
    assert f"The publish gate of run {run_id[:8]} opened" in say(app, "how is it going?", session)["response"]
