"""The two gates: each interrupts the run until a decision about its review arrives."""

from langgraph.types import interrupt

from graph.decisions import Gate, GateDecision, RecordedDecision
from graph.dependencies import Dependencies
from graph.nodes.orders import end_run
from graph.review_content import changed_fields, channels_of, edited_content, interrupt_payload, open_review
from graph.state import Route, RunState


async def ideation_gate(state: RunState, *, deps: Dependencies) -> RunState:
    """Present the ideas and their cost; continue with the ideas as the reviewer approved them."""
    return await _await_decision("ideation", "plan_clips", state, deps)


async def publish_gate(state: RunState, *, deps: Dependencies) -> RunState:
    """Present the film and its post; keep the reviewer's edits of caption, hashtags and overlays."""
    return await _await_decision("publish", "order_publication", state, deps)


async def _await_decision(gate: Gate, route_if_approved: Route, state: RunState, deps: Dependencies) -> RunState:
    review = open_review(gate, state)
    # The node runs again from its first line when it is resumed: nothing before this call has an effect.
    payload = interrupt_payload(review)
    offered = payload["action_requests"][0]["args"]
    form = RecordedDecision.about(offered, lambda answer: edited_content(review.content, answer.edits, answer.sample))
    decision: RecordedDecision = interrupt(payload, response_schema=form)
    content = edited_content(review.content, decision.edits, decision.sample)
    approved = content if decision.verdict == "approve" else review.content
    # The product records a decision before it resumes the run; only Studio resumes with an unrecorded one.
    number = decision.number or await deps.records.record_decision(state["run_id"], review, decision)
    decided = GateDecision(
        **decision.model_dump(exclude={"number", "edits"}),
        number=number,
        revision=review.revision,
        edited=changed_fields(review.content, content),
        approved_digest=None if decision.verdict == "reject" else approved.digest,
    )
    route: dict[str, Route] = {"approve": route_if_approved, "revise": "supervisor", "reject": "end"}
    update: RunState = {
        **channels_of(content, state),
        "route": route[decision.verdict],
        "gate": gate,
        "decisions": {**state.get("decisions", {}), gate: decided.model_dump(mode="json")},
    }
    if decision.verdict == "reject":
        update.update(end_run("rejected", decision.comment or "A reviewer rejected it, so the run ended here."))
    return update
