"""Decide at a gate: one review, one decision, bound to what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from agents.structured import clean_text
from graph.review_content import EditError, apply_edits
from graph.state import Gate
from providers.orders import ClipNote, digest_of
from runs.errors import ApprovalNotPermitted, BudgetExceeded, GateNotOpen, InvalidRequest, StaleReview
from runs.queries import get_run
from runs.services import Services
from runs.start import resolve_project
from storage import api_keys, decisions
from storage import runs as table
from storage.decisions import DecisionRow, NewDecision
from storage.runs import RunRow

COMMENT_LIMIT = 4_000
#: Seconds that a film must have at least.
MIN_FILM_SECONDS = 3


async def decide(
    services: Services,
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
    if not await api_keys.can_approve(services.db, decided_by):
        raise ApprovalNotPermitted("This key may not decide: somebody whose key may has to.")
    run = await get_run(services, run_id)
    if request and (known := await decisions.find_by_idempotency_key(services.db, run_id, decided_by, request)):
        return known
    review = run["review"]
    if review is None or review["gate"] != gate:
        raise await _not_open(services, run_id, gate)
    if digest is not None and digest != review["digest"]:
        raise StaleReview(
            f"What you saw is no longer what the {gate} gate shows: look at revision {review['revision']}.",
            digest=review["digest"],
            revision=review["revision"],
        )
    comment, content = clean_text(comment or "") or None, review["content"]
    wishes = DecisionContent(comment, edits, list(clips), {str(n): take for n, take in (takes or {}).items()})
    if keep is not None:
        wishes = replace(wishes, edits=_kept(gate, verdict, content, wishes, keep))
    approved = _judged(gate, verdict, wishes, content)
    if gate == "ideation" and verdict == "approve":
        _still_a_film(services, run, approved)
    if wishes.clips:
        await _affordable(services, run, Decimal(content["usd_per_clip"]) * len(wishes.clips))
    row = await decisions.record_decision(
        services.db,
        run_id,
        NewDecision(
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
        raise await _not_open(services, run_id, gate)
    services.wakeups.advance(str(run_id))
    return row


async def quote(services: Services, run_id: UUID, clips: Sequence[int]) -> dict[str, Any]:
    """What making these clips again would cost, and what is left under the run's cap. Spends and decides nothing."""
    run = await get_run(services, run_id)
    review = run["review"]
    if review is None or review["gate"] != "publish":
        raise await _not_open(services, run_id, "publish")
    _known(clips, review["content"])
    usd, left = Decimal(review["content"]["usd_per_clip"]) * len(set(clips)), await _left(services, run)
    return {"usd": float(usd), "cap_left_usd": float(left), "fits": usd <= left}


@dataclass(frozen=True)
class DecisionContent:
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


def _judged(gate: Gate, verdict: str, wishes: DecisionContent, content: dict[str, Any]) -> dict[str, Any]:
    """What is approved, once the wishes fit the gate, the verdict and what is shown. Raises Invalid."""
    comment, at_publish = wishes.comment, gate == "publish"
    if comment and len(comment) > COMMENT_LIMIT:
        raise InvalidRequest(f"The comment must have at most {COMMENT_LIMIT:,} characters.", field="comment")
    if (wishes.clips or wishes.takes) and not (at_publish and verdict == "revise"):
        field = "clips" if wishes.clips else "takes"
        raise InvalidRequest("Clips are chosen at the publish gate, when changes are requested.", field=field)
    if wishes.edits is not None and not (verdict == "approve" or (at_publish and verdict == "revise")):
        raise InvalidRequest("Edits go with an approval: approve what you edited.", field="edits")
    if at_publish:
        _known([note["clip"] for note in wishes.clips], content)
        _takes_known(wishes.takes, content)
    if verdict == "revise" and not (comment or wishes.clips or wishes.takes or wishes.edits):
        raise InvalidRequest("Say in a comment what should change.", field="comment")
    try:
        changed = apply_edits(gate, content, wishes.edits)
    except EditError as error:
        raise InvalidRequest(str(error), field="edits") from error
    if at_publish and verdict == "approve" and changed["clips"] != content["clips"]:
        raise InvalidRequest("Other text over a clip needs a new render: request changes instead.", field="edits")
    return changed if verdict == "approve" else content


def _kept(gate: Gate, verdict: str, content: dict[str, Any], wishes: DecisionContent, keep: Sequence[int]) -> list[Any]:
    """The ideas of these numbers, in this order."""
    if gate != "ideation" or verdict != "approve" or wishes.edits is not None:
        raise InvalidRequest("Ideas are kept with an approval at the ideation gate, and without edits.", field="keep")
    ideas: list[Any] = content["ideas"]
    if not keep or len(set(keep)) != len(keep) or not all(1 <= number <= len(ideas) for number in keep):
        raise InvalidRequest(f"Name each idea to keep once, from 1 to {len(ideas)}.", field="keep")
    return [ideas[number - 1] for number in keep]


def _known(clips: Sequence[int], content: dict[str, Any]) -> None:
    numbers = [clip["clip"] for clip in content["clips"]]
    if strange := sorted(set(clips) - set(numbers)):
        raise InvalidRequest(
            f"The film has no clip {strange[0]}; it has {', '.join(map(str, numbers))}.", field="clips"
        )


def _takes_known(takes: Mapping[str, int], content: dict[str, Any]) -> None:
    made = {str(clip["clip"]): clip["takes"] for clip in content["clips"]}
    for number, take in takes.items():
        if take not in made.get(number, []):
            raise InvalidRequest(f"There is no take {take} of clip {number}.", field="takes")


def _still_a_film(services: Services, run: RunRow, approved: dict[str, Any]) -> None:
    project = resolve_project(services, run["project"], run["options"])
    many = len(approved["ideas"])
    seconds = many * approved.get("seconds", project.clip_seconds) - (many - 1) * project.crossfade_seconds
    if seconds < MIN_FILM_SECONDS:
        raise InvalidRequest(
            f"The film would be {seconds:g} s long, and must be at least {MIN_FILM_SECONDS} s.", field="edits"
        )


async def _left(services: Services, run: RunRow) -> Decimal:
    costs = await table.run_costs(services.db, run["id"])
    return run["cap_usd"] - costs["reserved"] - costs["spent"]


async def _affordable(services: Services, run: RunRow, usd: Decimal) -> None:
    left = await _left(services, run)
    if usd > left:
        raise BudgetExceeded(
            f"That would cost {usd:.2f} USD, and {left:.2f} USD are left under the run's cap.",
            usd=float(usd),
            cap_left_usd=float(left),
        )


async def _not_open(services: Services, run_id: UUID, gate: Gate) -> GateNotOpen:
    run = await get_run(services, run_id)
    made = await decisions.list_decisions(services.db, run_id)
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
