"""Decide at a gate: one review, one decision, bound to what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from agents.asking import clean
from graph.reviews import EditError, edited
from graph.state import Gate
from providers.orders import ClipNote, digest_of
from runs.errors import BudgetExceeded, GateNotOpen, Invalid, MayNotDecide, StaleReview
from runs.look import find
from runs.production import Production
from runs.start import chosen
from storage import decisions, keys
from storage import runs as table
from storage.decisions import DecisionRow, Verdict
from storage.runs import RunRow

COMMENT_LIMIT = 4_000
#: Seconds that a film must have at least.
SHORTEST = 3


async def decide(
    production: Production,
    run_id: UUID,
    gate: Gate,
    *,
    verdict: Literal["approve", "revise", "reject"],
    comment: str | None = None,
    edits: Any = None,
    clips: Sequence[ClipNote] = (),
    takes: Mapping[int, int] | None = None,
    keep: Sequence[int] | None = None,
    digest: str | None = None,
    decided_by: str,
    channel: str,
    request: str | None = None,
) -> DecisionRow:
    """Keep a person's decision about the review that this gate has open.

    At the ideation gate `approve` takes `edits` (the ideas as the reviewer wants them) or `keep` (the numbers of
    those to keep, in their order). At the publish gate `approve` takes `edits` of caption and hashtags, and
    `revise` those and overlays, `clips` to make again with a note each, and `takes` to use instead. `digest` is
    that of what the reviewer saw. `request` is the name of the request, where it has one: the same one again is the
    same decision, whatever the gate shows by then; the door sees to it that it says the same. Raises MayNotDecide,
    RunNotFound, GateNotOpen, StaleReview, BudgetExceeded, ProjectNotFound or Invalid.
    """
    if not await keys.may_decide(production.db, decided_by):
        raise MayNotDecide("This key may not decide: somebody whose key may has to.")
    run = await find(production, run_id)
    if request and (known := await decisions.by_request(production.db, run_id, decided_by, request)):
        return known
    review = run["review"]
    if review is None or review["gate"] != gate:
        raise await _not_open(production, run_id, gate)
    if digest is not None and digest != review["digest"]:
        raise StaleReview(
            f"What you saw is no longer what the {gate} gate shows: look at revision {review['revision']}.",
            digest=review["digest"],
            revision=review["revision"],
        )
    comment, shown = clean(comment or "") or None, review["shown"]
    wishes = Wishes(comment, edits, list(clips), {str(n): take for n, take in (takes or {}).items()})
    if keep is not None:
        wishes = replace(wishes, edits=_kept(gate, verdict, shown, wishes, keep))
    approved = _judged(gate, verdict, wishes, shown)
    if gate == "ideation" and verdict == "approve":
        _still_a_film(production, run, approved)
    if wishes.clips:
        await _affordable(production, run, Decimal(shown["usd_per_clip"]) * len(wishes.clips))
    row = await decisions.decide(
        production.db,
        run_id,
        Verdict(
            gate=gate,
            revision=review["revision"],
            verdict=verdict,
            seen_digest=review["digest"],
            approved_digest=None if verdict == "reject" else digest_of(approved),
            comment=comment,
            edits=wishes.edits,
            clips=wishes.clips or None,
            takes=wishes.takes or None,
            decided_by=decided_by,
            channel=channel,
            request=request,
        ),
    )
    if row is None:
        raise await _not_open(production, run_id, gate)
    production.wake.advance(str(run_id))
    return row


async def quote(production: Production, run_id: UUID, clips: Sequence[int]) -> dict[str, Any]:
    """What making these clips again would cost, and what is left under the run's cap. Spends and decides nothing."""
    run = await find(production, run_id)
    review = run["review"]
    if review is None or review["gate"] != "publish":
        raise await _not_open(production, run_id, "publish")
    _known(clips, review["shown"])
    usd, left = Decimal(review["shown"]["usd_per_clip"]) * len(set(clips)), await _left(production, run)
    return {"usd": float(usd), "cap_left_usd": float(left), "fits": usd <= left}


@dataclass(frozen=True)
class Wishes:
    """What a reviewer wants beside yes and no."""

    comment: str | None
    edits: Any
    clips: list[ClipNote]
    takes: dict[str, int]


def verdict_of(approved: bool, comment: str | None) -> Literal["approve", "revise", "reject"]:
    """What the reference's `approved` and `comment` mean: no, with a comment, asks for changes."""
    if approved:
        return "approve"
    return "revise" if comment and comment.strip() else "reject"


def _judged(gate: Gate, verdict: str, wishes: Wishes, shown: dict[str, Any]) -> dict[str, Any]:
    """What is approved, once the wishes fit the gate, the verdict and what is shown. Raises Invalid."""
    comment, at_publish = wishes.comment, gate == "publish"
    if comment and len(comment) > COMMENT_LIMIT:
        raise Invalid(f"The comment must have at most {COMMENT_LIMIT:,} characters.", field="comment")
    if (wishes.clips or wishes.takes) and not (at_publish and verdict == "revise"):
        field = "clips" if wishes.clips else "takes"
        raise Invalid("Clips are chosen at the publish gate, when changes are requested.", field=field)
    if wishes.edits is not None and not (verdict == "approve" or (at_publish and verdict == "revise")):
        raise Invalid("Edits go with an approval: approve what you edited.", field="edits")
    if at_publish:
        _known([note["clip"] for note in wishes.clips], shown)
        _takes_known(wishes.takes, shown)
    if verdict == "revise" and not (comment or wishes.clips or wishes.takes or wishes.edits):
        raise Invalid("Say in a comment what should change.", field="comment")
    try:
        changed = edited(gate, shown, wishes.edits)
    except EditError as error:
        raise Invalid(str(error), field="edits") from error
    if at_publish and verdict == "approve" and changed["clips"] != shown["clips"]:
        raise Invalid("Other text over a clip needs a new render: request changes instead.", field="edits")
    return changed if verdict == "approve" else shown


def _kept(gate: Gate, verdict: str, shown: dict[str, Any], wishes: Wishes, keep: Sequence[int]) -> list[Any]:
    """The ideas of these numbers, in this order."""
    if gate != "ideation" or verdict != "approve" or wishes.edits is not None:
        raise Invalid("Ideas are kept with an approval at the ideation gate, and without edits.", field="keep")
    ideas: list[Any] = shown["ideas"]
    if not keep or len(set(keep)) != len(keep) or not all(1 <= number <= len(ideas) for number in keep):
        raise Invalid(f"Name each idea to keep once, from 1 to {len(ideas)}.", field="keep")
    return [ideas[number - 1] for number in keep]


def _known(clips: Sequence[int], shown: dict[str, Any]) -> None:
    numbers = [clip["clip"] for clip in shown["clips"]]
    if strange := sorted(set(clips) - set(numbers)):
        raise Invalid(f"The film has no clip {strange[0]}; it has {', '.join(map(str, numbers))}.", field="clips")


def _takes_known(takes: Mapping[str, int], shown: dict[str, Any]) -> None:
    made = {str(clip["clip"]): clip["takes"] for clip in shown["clips"]}
    for number, take in takes.items():
        if take not in made.get(number, []):
            raise Invalid(f"There is no take {take} of clip {number}.", field="takes")


def _still_a_film(production: Production, run: RunRow, approved: dict[str, Any]) -> None:
    project = chosen(production, run["project"], run["options"])
    many = len(approved["ideas"])
    seconds = many * approved.get("seconds", project.clip_seconds) - (many - 1) * project.crossfade_seconds
    if seconds < SHORTEST:
        raise Invalid(f"The film would be {seconds:g} s long, and must be at least {SHORTEST} s.", field="edits")


async def _left(production: Production, run: RunRow) -> Decimal:
    costs = await table.costs(production.db, run["id"])
    return run["cap_usd"] - costs["reserved"] - costs["spent"]


async def _affordable(production: Production, run: RunRow, usd: Decimal) -> None:
    left = await _left(production, run)
    if usd > left:
        raise BudgetExceeded(
            f"That would cost {usd:.2f} USD, and {left:.2f} USD are left under the run's cap.",
            usd=float(usd),
            cap_left_usd=float(left),
        )


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
