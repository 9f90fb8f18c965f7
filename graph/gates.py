"""The two moments that matter: a gate asks, and does nothing else."""

from __future__ import annotations

from typing import Any, Literal

from langgraph.types import interrupt
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from graph.review_content import apply_edits, interrupt_payload, review_of
from graph.state import DecisionState, Gate, RunState
from providers.orders import ClipNote, digest_of

REJECTED = "A reviewer rejected it, so the run ended here."


class Decision(BaseModel):
    """A person's answer at a gate, in any of the forms that those who can ask send it.

    Our own form comes from a row of `decisions`. Studio and the inboxes send `{"decisions": [...]}`, the older
    `[{"type": ...}]`, one bare decision, `{"approved": bool, "comment": ...}` or a plain boolean. Anything else
    is refused, and the gate stays open.
    """

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["approve", "revise", "reject"]
    comment: str = ""
    edits: Any = None
    clips: list[ClipNote] = []
    takes: dict[str, int] = {}
    number: int = 0

    @field_validator("clips", mode="before")
    @classmethod
    def _numbers_alone(cls, clips: Any) -> Any:
        """A number alone is a clip without a note."""
        return [{"clip": c, "comment": ""} if isinstance(c, int) else c for c in clips]

    @model_validator(mode="before")
    @classmethod
    def _any_form(cls, answer: Any) -> Any:
        if isinstance(answer, dict) and "decisions" in answer:
            answer = answer["decisions"]
        if isinstance(answer, list) and len(answer) == 1:
            answer = answer[0]
        if isinstance(answer, bool):
            answer = {"approved": answer}
        if isinstance(answer, dict) and "type" in answer:
            return _inbox_form(answer)
        if isinstance(answer, dict) and isinstance(answer.get("approved"), bool):
            comment = answer.get("comment") or ""
            refusal = "revise" if comment else "reject"
            return {"verdict": "approve" if answer["approved"] else refusal, "comment": comment}
        return answer


def _inbox_form(answer: dict[str, Any]) -> dict[str, Any]:
    match answer["type"]:
        case "approve" | "accept":
            return {"verdict": "approve"}
        case "edit":
            action = answer.get("edited_action") or answer.get("args") or {}
            args = action.get("args", {}) if isinstance(action, dict) else {}
            args = args if isinstance(args, dict) else {}
            edits = args.get("ideas") or {k: args[k] for k in ("caption", "hashtags") if k in args}
            # Edits that say nothing are not taken for a plain yes.
            return {"verdict": "approve", "edits": edits} if edits else answer
        case "reject" | "response" | "respond" | "ignore":
            said = answer.get("message") or answer.get("args") or ""
            return {"verdict": "revise" if said else "reject", "comment": said}
    return answer


def ideation_gate(state: RunState) -> RunState:
    """Shows the ideas and what they cost; goes on with them as the reviewer approved them."""
    decided, content = _ask("ideation", state)
    return {**decided, "ideas": {**state["ideas"], "ideas": content["ideas"], "make": content["make"]}}


def publish_gate(state: RunState) -> RunState:
    """Shows the film and what would be posted with it; keeps the reviewer's words for caption and overlays."""
    decided, content = _ask("publish", state)
    overlays = {clip["clip"]: clip["overlay"] for clip in content["clips"]}
    ideas = [
        {**idea, "overlay": overlays.get(number, idea["overlay"])}
        for number, idea in enumerate(state["ideas"]["ideas"], start=1)
    ]
    return {
        **decided,
        "caption": {**state["caption"], "caption": content["caption"], "hashtags": content["hashtags"]},
        "ideas": {**state["ideas"], "ideas": ideas},
    }


def _ask(gate: Gate, state: RunState) -> tuple[RunState, dict[str, Any]]:
    review = review_of(gate, state)
    decision = interrupt(interrupt_payload(review), response_schema=Decision)
    before = review["content"]
    content = apply_edits(gate, before, decision.edits)
    approved = content if decision.verdict == "approve" else before
    decided: DecisionState = {
        "number": decision.number,
        "revision": review["revision"],
        "verdict": decision.verdict,
        "comment": decision.comment,
        "clips": decision.clips,
        "takes": decision.takes,
        "edited": sorted(key for key in content if content[key] != before[key]),
        "approved_digest": digest_of(approved) if decision.verdict != "reject" else None,
    }
    change: RunState = {
        "gate": gate,
        "decisions": {**state.get("decisions", {}), gate: decided},
        "revisions": {**state.get("revisions", {}), gate: review["revision"]},
    }
    if decision.verdict == "reject":
        change["failure"] = {"code": "rejected", "message": decision.comment or REJECTED}
    return change, content
