"""Decide at a gate: one review, one decision, bound to what was seen."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from agents.asking import clean
from graph.reviews import EditError, edited
from graph.state import Gate
from providers.orders import digest_of
from runs.errors import GateNotOpen, Invalid, StaleReview
from runs.look import find
from runs.production import Production
from storage import decisions
from storage.decisions import DecisionRow, Verdict

COMMENT_LIMIT = 4_000


async def decide(
    production: Production,
    run_id: UUID,
    gate: Gate,
    *,
    verdict: Literal["approve", "revise", "reject"],
    comment: str | None = None,
    edits: Any = None,
    clips: list[int] | None = None,
    digest: str | None = None,
    decided_by: str,
    channel: str,
) -> DecisionRow:
    """Keep a person's decision about the review that this gate has open.

    `edits` go with `approve`; `clips`, the numbers of clips to make again, with `revise` at the publish gate;
    `digest` is that of what the reviewer saw. Raises RunNotFound, GateNotOpen, StaleReview or Invalid.
    """
    run = await find(production, run_id)
    review = run["review"]
    if review is None or review["gate"] != gate:
        raise await _not_open(production, run_id, gate)
    if digest is not None and digest != review["digest"]:
        raise StaleReview(
            f"What you saw is no longer what the {gate} gate shows: look at revision {review['revision']}.",
            digest=review["digest"],
            revision=review["revision"],
        )
    comment = clean(comment or "") or None
    _check(gate, verdict, comment, edits, clips, review["shown"])
    try:
        approved = digest_of(edited(gate, review["shown"], edits)) if verdict == "approve" else review["digest"]
    except EditError as error:
        raise Invalid(str(error), field="edits") from error
    row = await decisions.decide(
        production.db,
        run_id,
        Verdict(
            gate=gate,
            revision=review["revision"],
            verdict=verdict,
            seen_digest=review["digest"],
            approved_digest=None if verdict == "reject" else approved,
            comment=comment,
            edits=edits,
            clips=sorted(set(clips)) if clips else None,
            decided_by=decided_by,
            channel=channel,
        ),
    )
    if row is None:
        raise await _not_open(production, run_id, gate)
    production.wake.advance(str(run_id))
    return row


def verdict_of(approved: bool, comment: str | None) -> Literal["approve", "revise", "reject"]:
    """What the reference's `approved` and `comment` mean: no, with a comment, asks for changes."""
    if approved:
        return "approve"
    return "revise" if comment and comment.strip() else "reject"


def _check(
    gate: Gate, verdict: str, comment: str | None, edits: Any, clips: list[int] | None, shown: dict[str, Any]
) -> None:
    if comment and len(comment) > COMMENT_LIMIT:
        raise Invalid(f"The comment must have at most {COMMENT_LIMIT:,} characters.", field="comment")
    if edits is not None and verdict != "approve":
        raise Invalid("Edits go with an approval: approve what you edited.", field="edits")
    if clips and not (gate == "publish" and verdict == "revise"):
        raise Invalid("Clips can be made again at the publish gate, when changes are requested.", field="clips")
    if clips and not all(1 <= number <= shown["clips"] for number in clips):
        raise Invalid(f"The film has clips 1 to {shown['clips']}.", field="clips")
    if verdict == "revise" and not (comment or clips):
        raise Invalid("Say in a comment what should change.", field="comment")


async def _not_open(production: Production, run_id: UUID, gate: Gate) -> GateNotOpen:
    run = await find(production, run_id)
    made = await decisions.of_run(production.db, run_id)
    last = made[-1] if made else None
    is_open = run["review"]["gate"] if run["review"] else None
    said = f"The {gate} gate is not open" + (
        f"; the {is_open} gate is." if is_open else f": the run is {run['status']}."
    )
    if last:
        said += f" {last['decided_by']} decided ({last['verdict']}) at the {last['gate']} gate last."
    decided = (
        {
            "gate": last["gate"],
            "revision": last["revision"],
            "verdict": last["verdict"],
            "decided_by": last["decided_by"],
            "decided_at": last["decided_at"].isoformat(),
        }
        if last
        else None
    )
    return GateNotOpen(said, open_gate=is_open, last_decision=decided)
