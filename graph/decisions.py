"""Decisions at a gate: as a request states them, as the graph receives them, and as its state keeps them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, model_validator

from graph.status import Gate as Gate

Verdict = Literal["approve", "revise", "reject"]
#: What can be edited at the publish gate; at the ideation gate it is the ideas.
FILM_EDITS = {"caption", "hashtags", "overlays", "publish_at", "music", "platforms"}
#: The edits that need another film, which the gate then presents.
RENDERED = {"overlays", "music"}


class ClipNote(BaseModel):
    """A clip to generate again, and what should be different."""

    clip: int
    comment: str = ""


def _accept_bare_numbers(clips: Any) -> Any:
    return [{"clip": clip} if isinstance(clip, int) else clip for clip in clips] if clips else []


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
    clips: Annotated[list[ClipNote], BeforeValidator(_accept_bare_numbers)] = []
    takes: dict[int, int] = {}


class DecisionFields(DecisionContent):
    """A decision as a person describes it.

    `keep` lists the numbers of the ideas to keep, in their new order. `idea_edits` are the fields of single ideas to
    change, by the number of the idea before. `publish_at` is the time, in ISO form, before which the film is not
    posted. All of them are recorded among the edits.
    """

    keep: list[int] | None = None
    idea_edits: dict[int, dict[str, str]] = {}
    publish_at: str | None = None


class DecisionInput(DecisionFields):
    """A decision as a request states it. `digest` is that of the content the reviewer saw."""

    digest: str | None = None


class RecordedDecision(DecisionContent, hide_input_in_errors=True):
    """A decision as the value that resumes a gate, accepted in every form that a supported client sends.

    `number` is that of its row in `decisions`; 0 means that it has not been recorded, as in Studio. Studio and the
    agent inboxes send `{"decisions": [...]}`, the older `[{"type": ...}]`, one bare decision,
    `{"approved": bool, "comment": ...}` or a plain boolean. Any other value is refused, and the gate stays open.
    """

    number: int = 0
    #: The content of the review, which an edit is compared with, and a function that raises ValueError for a decision
    #: that does not fit it. See `about`.
    offered: ClassVar[Mapping[str, Any]] = {}
    check: ClassVar[Callable[["RecordedDecision"], object]] = bool

    @classmethod
    def about(cls, offered: Mapping[str, Any], check: Callable[[Self], object]) -> type[Self]:
        """Return the form of decisions about this content. `check` sees those that have not been recorded."""
        return cast("type[Self]", type(cls.__name__, (cls,), {"offered": offered, "check": check}))

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if not self.number:
            type(self).check(self)
        return self

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
            return _from_inbox(answer, cls.offered)
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


def _from_inbox(answer: dict[str, Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Translate one decision of the human-in-the-loop middleware or of Agent Inbox."""
    match answer["type"]:
        case "approve" | "accept":
            return {"verdict": "approve"}
        case "edit":
            edits = _edits_from_inbox(answer.get("edited_action") or answer.get("args"), offered)
            needs_render = isinstance(edits, dict) and not edits.keys().isdisjoint(RENDERED)
            return {"verdict": "revise" if needs_render else "approve", "edits": edits}
        case "reject" | "response" | "respond":
            comment = answer.get("message") or answer.get("args") or ""
            return {"verdict": verdict_of(False, comment), "comment": comment}
        case "ignore":
            raise ValueError("an ignored review stays open")
    return answer


def _edits_from_inbox(action: Any, offered: Mapping[str, Any]) -> Any:
    """Return what differs from the content that was offered. Raises ValueError for nothing, or for what is fixed."""
    args = _arguments(action)
    read = {name: _read_field(name, value, offered.get(name)) for name, value in args.items()}
    changed = {name: value for name, value in read.items() if value != offered.get(name)}
    if "clips" in changed:
        changed["overlays"] = _changed_overlays(changed.pop("clips"), offered.get("clips", []))
    if fixed := changed.keys() - ({"ideas"} if "ideas" in args else FILM_EDITS):
        raise ValueError(
            f"{', '.join(sorted(fixed))}: cannot be edited here. Reject with a comment to request a change"
        )
    if not changed:
        raise ValueError("the edit changes nothing. Approve instead")
    return changed.get("ideas", changed)


def _arguments(action: Any) -> dict[str, Any]:
    args = (action.get("args") or action.get("arguments")) if isinstance(action, dict) else None
    if not isinstance(args, dict):
        raise ValueError("an edit contains the arguments of the action, with the changes")
    return args


def _read_field(name: str, value: Any, offered: Any) -> Any:
    """Return a field as it was offered: the inboxes send everything that a person has edited as text."""
    is_text = isinstance(offered, str) or (offered is None and not str(value).lstrip().startswith(("[", "{")))
    if is_text or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError(f"{name}: not valid JSON") from None


def _changed_overlays(clips: Any, offered: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the edited overlays by clip number."""
    pairs = list(zip(offered, clips, strict=False)) if isinstance(clips, list) else []
    if [{**old, "overlay": new.get("overlay")} for old, new in pairs if isinstance(new, dict)] != clips:
        raise ValueError("clips: only `overlay` can be edited here. Reject with a comment to request another take")
    return {str(new["clip"]): new["overlay"] for old, new in pairs if new != old}
