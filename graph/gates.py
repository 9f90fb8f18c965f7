"""The two gates: each interrupts the run until a decision about its review arrives."""

from __future__ import annotations

from langgraph.types import interrupt

from graph.decisions import Gate, GateDecision, RecordedDecision
from graph.dependencies import Dependencies
from graph.review_content import (
    IdeasContent,
    ReviewContent,
    apply_edits,
    changed_fields,
    interrupt_payload,
    open_review,
)
from graph.state import Route, RunState

REJECTED = "A reviewer rejected it, so the run ended here."


async def ideation_gate(state: RunState, *, deps: Dependencies) -> RunState:
    """Present the ideas and their cost; continue with the ideas as the reviewer approved them."""
    return await _await_decision("ideation", "plan_clips", state, deps)


async def publish_gate(state: RunState, *, deps: Dependencies) -> RunState:
    """Present the film and its post; keep the reviewer's edits of caption, hashtags and overlays."""
    return await _await_decision("publish", "order_publication", state, deps)


async def _await_decision(gate: Gate, route_if_approved: Route, state: RunState, deps: Dependencies) -> RunState:
    review = open_review(gate, state)
    # The node runs again from its first line when it is resumed: nothing before this call has an effect.
    decision: RecordedDecision = interrupt(interrupt_payload(review), response_schema=RecordedDecision)
    content = apply_edits(review.content, decision.edits)
    approved = content if decision.verdict == "approve" else review.content
    # The product records a decision before it resumes the run; only Studio resumes with an unrecorded one.
    number = decision.number or await deps.records.record_decision(state["run"]["id"], review, decision)
    decided = GateDecision(
        **decision.model_dump(exclude={"number", "edits"}),
        number=number,
        revision=review.revision,
        edited=changed_fields(review.content, content),
        approved_digest=None if decision.verdict == "reject" else approved.digest,
    )
    route: dict[str, Route] = {"approve": route_if_approved, "revise": "supervisor", "reject": "end"}
    update: RunState = {
        **_edited_channels(content, state),
        "route": route[decision.verdict],
        "gate": gate,
        "decisions": {**state.get("decisions", {}), gate: decided.model_dump(mode="json")},
        "revisions": {**state.get("revisions", {}), gate: review.revision},
    }
    if decision.verdict == "reject":
        update["failure"] = {"code": "rejected", "message": decision.comment or REJECTED}
    return update


def _edited_channels(content: ReviewContent, state: RunState) -> RunState:
    """Return the channels that hold the edited content."""
    if isinstance(content, IdeasContent):
        ideas = [idea.model_dump() for idea in content.ideas]
        return {"ideas": {**state["ideas"], "ideas": ideas, "make": content.make}}
    overlays = {clip.clip: clip.overlay for clip in content.clips}
    ideas = [
        {**idea, "overlay": overlays.get(number, idea["overlay"])}
        for number, idea in enumerate(state["ideas"]["ideas"], start=1)
    ]
    return {
        "caption": {**state["caption"], "caption": content.caption, "hashtags": content.hashtags},
        "ideas": {**state["ideas"], "ideas": ideas},
    }
