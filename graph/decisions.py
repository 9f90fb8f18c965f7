"""Decisions at a gate: as a request states them, as the graph receives them, and as its state keeps them."""

from typing import Any, Literal

from pydantic import BaseModel, field_validator, model_validator

from graph.status import Gate as Gate

Verdict = Literal["approve", "revise", "reject"]


class ClipNote(BaseModel):
    """A clip to generate again, and what should be different."""

    clip: int
    comment: str = ""


class DecisionContent(BaseModel, extra="forbid"):
    """A verdict and the changes that come with it.

    `edits` are ideas at the ideation gate and an object of texts at the publish gate. `sample` are the only clips to
    generate before the ideation gate opens again. `clips` are generated again; `takes` names, by clip number, the take
    to use.
    """

    verdict: Verdict
    comment: str = ""
    edits: list[dict[str, Any]] | dict[str, Any] | None = None
    sample: list[int] = []
    clips: list[ClipNote] = []
    takes: dict[int, int] = {}

    @field_validator("clips", mode="before")
    @classmethod
    def _accept_bare_numbers(cls, clips: Any) -> Any:
        return [{"clip": clip} if isinstance(clip, int) else clip for clip in clips] if clips else []


class DecisionInput(DecisionContent):
    """A decision as a request states it.

    `keep` lists the numbers of the ideas to keep, in their new order. `publish_at` is the time, in ISO form, before
    which the film is not posted; it is recorded among the edits. `digest` is that of the content the reviewer saw.
    """

    keep: list[int] | None = None
    publish_at: str | None = None
    digest: str | None = None


class RecordedDecision(DecisionContent):
    """A decision as the value that resumes a gate, accepted in every form that a supported client sends.

    `number` is that of its row in `decisions`; 0 means that it has not been recorded, as in Studio. Studio and the
    agent inboxes send `{"decisions": [...]}`, the older `[{"type": ...}]`, one bare decision,
    `{"approved": bool, "comment": ...}` or a plain boolean. Any other value is refused, and the gate stays open.
    """

    number: int = 0

    @model_validator(mode="before")
    @classmethod
    def _accept_client_forms(cls, answer: Any) -> Any:
        if isinstance(answer, dict) and "decisions" in answer:
            answer = answer["decisions"]
        if isinstance(answer, list) and len(answer) == 1:
            answer = answer[0]
        if isinstance(answer, bool):
            answer = {"approved": answer}
        if not isinstance(answer, dict):
            return answer
        if "type" in answer:
            return _from_inbox(answer)
        if isinstance(answer.get("approved"), bool):
            comment = answer.get("comment") or ""
            return {"verdict": verdict_of(answer["approved"], comment), "comment": comment}
        return answer


class GateDecision(RecordedDecision):
    """The last decision at a gate, as the graph state keeps it in JSON.

    `edited` names the fields of the content that the reviewer changed; `approved_digest` is what orders refer to.
    """

    revision: int
    edited: list[str]
    approved_digest: str | None


def verdict_of(approved: bool, comment: str | None) -> Verdict:
    """Return the verdict that `approved` and `comment` express: a refusal with a comment requests changes."""
    if approved:
        return "approve"
    return "revise" if comment and str(comment).strip() else "reject"


def _from_inbox(answer: dict[str, Any]) -> dict[str, Any]:
    """Translate one decision of the human-in-the-loop middleware or of Agent Inbox."""
    match answer["type"]:
        case "approve" | "accept":
            return {"verdict": "approve"}
        case "edit":
            edits = _edits_from_inbox(answer.get("edited_action") or answer.get("args"))
            # An edit without changes is invalid: it must not count as an approval.
            return {"verdict": "approve", "edits": edits} if edits else answer
        case "reject" | "response" | "respond" | "ignore":
            comment = answer.get("message") or answer.get("args") or ""
            return {"verdict": verdict_of(False, comment), "comment": comment}
    return answer


def _edits_from_inbox(action: Any) -> Any:
    args = action.get("args") if isinstance(action, dict) else None
    if not isinstance(args, dict):
        return None
    return args.get("ideas") or {key: args[key] for key in ("caption", "hashtags", "publish_at") if key in args}
