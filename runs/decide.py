"""Decide at a gate: one review, one decision, bound to the content that the reviewer saw."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from agents.texts import clean_text
from graph.decisions import DecisionInput, Gate
from graph.review_content import EditError, FilmContent, IdeasContent, Review, ReviewContent, edited_content
from prompts.film_limits import MAX_FILM_SECONDS, MIN_FILM_SECONDS
from providers.media import intake
from runs.errors import ApprovalNotPermitted, BudgetExceeded, GateNotOpen, InvalidRequest, StaleReview
from runs.queries import get_run, open_review_of
from runs.services import Services
from runs.start import check_image, resolve_project
from storage import decisions
from storage.actors import Actor, RequestContext
from storage.database import Database
from storage.decisions import DecisionRow, NewDecision
from storage.ledger import Ledger
from storage.reviews import was_served
from storage.runs import RunRow

MAX_COMMENT_CHARACTERS = 4_000
#: How far ahead a film can be scheduled.
MAX_SCHEDULE_DAYS = 90
REVISED_FILM, APPROVED_IDEAS, APPROVED_FILM = ("publish", "revise"), ("ideation", "approve"), ("publish", "approve")
EDITABLE = [APPROVED_IDEAS, APPROVED_FILM, REVISED_FILM]
#: The gates and verdicts that accept a field of a decision, and the error with any other.
FIELD_RULES = {
    "clips": ([REVISED_FILM], "`clips` requires a request for changes at the publish gate."),
    "takes": ([REVISED_FILM], "`takes` requires a request for changes at the publish gate."),
    "publish_at": ([APPROVED_FILM], "`publish_at` requires an approval at the publish gate."),
    "sample": ([APPROVED_IDEAS], "`sample` requires an approval at the ideation gate."),
    "edits": (EDITABLE, "`edits` requires an approval: approve the edited content."),
}


class Quote(BaseModel):
    """The cost of an order, in USD, and whether it fits what is left under every cap: `cap` leaves the least."""

    usd: float
    cap: str
    cap_usd: float
    cap_left_usd: float
    fits: bool


async def decide(
    services: Services, run_id: UUID, gate: Gate, decision: DecisionInput, context: RequestContext
) -> DecisionRow:
    """Record a decision about the review that the gate has open.

    At the ideation gate `approve` accepts `edits` (the list of ideas) or `keep` (the numbers of the ideas to keep, in
    order), and `sample`: the only clips to generate before the gate opens again. At the publish gate `approve` accepts
    `edits` of caption and hashtags, and `publish_at`: the time before which nothing is posted; `revise` accepts those
    edits, overlays and music, `clips` to generate again with a note each, and `takes` to use instead. `digest` is that
    of the content the reviewer saw; without it the decision counts if the actor was served the open review. A request
    with an idempotency key that was used before returns the decision of that request, whatever the gate shows now; the
    entry point checks that the request is the same.

    Raises ApprovalNotPermitted, RunNotFound, GateNotOpen, StaleReview, BudgetExceeded, ProjectNotFound, ImageRefused
    or InvalidRequest.
    """
    check_approval_right(context.actor)
    run = await get_run(services.db, run_id)
    if known := await decisions.find_recorded(services.db, run_id, context):
        return known
    review = await require_open_review(services.db, run, gate)
    await _check_seen(services.db, run_id, review, decision.digest, context.actor)
    decision, approved = await check_decision(services, run, review.content, decision)
    await _check_price(services.ledger, run_id, price_usd(approved, decision))
    row = await decisions.record_decision(services.db, run_id, _new_decision(review, decision, approved), context)
    if row is None:
        raise await _gate_not_open(services.db, await get_run(services.db, run_id), gate)
    services.wakeups.advance(str(run_id))
    return row


async def check_decision(
    services: Services, run: RunRow, content: ReviewContent, decision: DecisionInput
) -> tuple[DecisionInput, ReviewContent]:
    """Return the decision as it is recorded, with everything it changes among its edits, and the approved content.

    Raises as `decide`, except for a price that exceeds a cap.
    """
    decision = decision.model_copy(update={"comment": clean_text(decision.comment)})
    if decision.keep is not None or decision.idea_edits:
        edits = _kept_ideas(content, decision)
        decision = decision.model_copy(update={"edits": edits, "keep": None, "idea_edits": {}})
    decision = _with_publish_time(decision)
    approved = await _checked(services, run, content, decision)
    await _check_music(services, decision)
    return decision, approved


async def _check_seen(db: Database, run_id: UUID, review: Review, digest: str | None, actor: Actor) -> None:
    """Raise StaleReview with the current content unless the reviewer saw it: by digest, or as it was served."""
    if digest == review.digest or (digest is None and await was_served(db, actor, run_id, vars(review))):
        return
    reason = "has changed" if digest else "was not served to you"
    raise StaleReview(
        f"The content of the {review.gate} gate {reason}. Review revision {review.revision}, and send its digest.",
        **review.model_dump(mode="json"),
    )


def check_approval_right(actor: Actor, advice: str = ". Use a key from MYLOWARE_API_KEYS.") -> None:
    """Raise ApprovalNotPermitted unless the actor may approve. Its sentence ends with the advice."""
    if not actor.can_approve:
        raise ApprovalNotPermitted(f"API key lacks approval permission{advice}")


async def quote(services: Services, run_id: UUID, clips: Collection[int]) -> Quote:
    """Return the cost of generating these clips again. Raises RunNotFound, GateNotOpen or InvalidRequest."""
    content = (await require_open_review(services.db, await get_run(services.db, run_id), "publish")).content
    _check_clip_numbers(content, clips)
    return await _quote(services.ledger, run_id, content.usd_per_clip * len(set(clips)))


async def quote_clips(services: Services, run_id: UUID, clips: Collection[int]) -> Quote:
    """Return the cost of generating only these clips of an offer, or these of a film again. Raises as `quote`."""
    run = await get_run(services.db, run_id)
    review = open_review_of(run)
    if review and isinstance(review.content, IdeasContent):
        sample = DecisionInput(verdict="approve", sample=list(clips))
        return (await quote_decision(services, run, review.content, sample))[1]
    return await quote(services, run_id, clips)


async def quote_decision(
    services: Services, run: RunRow, content: ReviewContent, decision: DecisionInput
) -> tuple[ReviewContent, Quote]:
    """Return the content that a decision about this content approves, and its cost. Raises as `decide`."""
    approved = await _checked(services, run, content, decision)
    return approved, await _quote(services.ledger, run.id, price_usd(approved, decision))


async def _quote(ledger: Ledger, run_id: UUID, usd: Decimal) -> Quote:
    cap = await ledger.tightest_cap(run_id)
    fits = _usd_to_reserve(ledger, usd) <= cap.left_usd
    return Quote(usd=float(usd), cap=cap.name, cap_usd=float(cap.cap_usd), cap_left_usd=float(cap.left_usd), fits=fits)


async def require_open_review(db: Database, run: RunRow, gate: Gate) -> Review:
    """Return the review that this gate of the run has open. Raises GateNotOpen."""
    review = open_review_of(run)
    if review is None or review.gate != gate:
        raise await _gate_not_open(db, run, gate)
    return review


async def _checked(services: Services, run: RunRow, content: ReviewContent, decision: DecisionInput) -> ReviewContent:
    """Return the content that the decision approves, after all checks but that of its price."""
    approved = _approved_content(content, decision)
    if isinstance(approved, IdeasContent) and decision.verdict == "approve":
        _check_film_length(services, run, approved)
        await _check_images(services, approved)
    return approved


def _approved_content(content: ReviewContent, decision: DecisionInput) -> ReviewContent:
    """Return the content that the decision approves, after checking the decision against it."""
    _check_fields(content, decision)
    if isinstance(content, FilmContent):
        _check_clip_numbers(content, [note.clip for note in decision.clips])
        _check_takes(content, decision)
    try:
        changed = edited_content(content, decision.edits, decision.sample)
    except EditError as error:
        raise InvalidRequest(str(error), field=error.field) from error
    if decision.verdict != "approve":
        return content
    _check_publish_time(changed)
    if isinstance(changed, FilmContent) and isinstance(content, FilmContent):
        if changed.clips != content.clips:
            raise InvalidRequest("Edited overlays require a new render: request changes instead.", field="edits")
        if changed.music != content.music:
            raise InvalidRequest("Other music requires a new render: request changes instead.", field="edits")
    return changed


def _with_publish_time(decision: DecisionInput) -> DecisionInput:
    """Return the decision with its time of publication among the edits, which are recorded and approved by digest."""
    if decision.publish_at is None or isinstance(decision.edits, list):
        return decision
    return decision.model_copy(update={"edits": {**(decision.edits or {}), "publish_at": decision.publish_at}})


def _check_publish_time(content: ReviewContent) -> None:
    """Check that the time before which nothing is posted, if there is one, is ahead, and not too far."""
    now = datetime.now(UTC)
    at = content.publish_at if isinstance(content, FilmContent) else None
    if at and not now < at <= now + timedelta(days=MAX_SCHEDULE_DAYS):
        message = f"`publish_at` must be in the future, at most {MAX_SCHEDULE_DAYS} days ahead."
        raise InvalidRequest(message, field="publish_at")


def _check_fields(content: ReviewContent, decision: DecisionInput) -> None:
    """Check that gate and verdict accept the fields that the decision uses."""
    if len(decision.comment) > MAX_COMMENT_CHARACTERS:
        raise InvalidRequest(f"The comment must have at most {MAX_COMMENT_CHARACTERS:,} characters.", field="comment")
    edited = decision.edits if isinstance(decision.edits, dict) else {}
    used = {*decision.model_dump(exclude_defaults=True), *edited}
    for field, (accepted_with, message) in FIELD_RULES.items():
        if field in used and (content.gate, decision.verdict) not in accepted_with:
            raise InvalidRequest(message, field=field)
    if decision.verdict == "revise" and not any((decision.comment, decision.clips, decision.takes, decision.edits)):
        raise InvalidRequest("Describe the requested changes in a comment.", field="comment")


def _kept_ideas(content: ReviewContent, decision: DecisionInput) -> list[dict[str, Any]]:
    """Return the ideas to keep, in their new order and with their changed fields."""
    field = "idea_edits" if decision.keep is None else "keep"
    if not isinstance(content, IdeasContent) or decision.verdict != "approve" or decision.edits is not None:
        raise InvalidRequest(f"`{field}` requires an approval at the ideation gate without `edits`.", field=field)
    ideas = content.ideas
    keep = decision.keep or list(range(1, len(ideas) + 1))
    if decision.keep == [] or sorted({*keep} & {*range(1, len(ideas) + 1)}) != sorted(keep):
        raise InvalidRequest(f"`keep` must contain each number once, from 1 to {len(ideas)}.", field="keep")
    if unknown := sorted({*decision.idea_edits} - {*keep}):
        raise InvalidRequest(f"`idea_edits` names idea {unknown[0]}, which is not kept.", field="idea_edits")
    return [{**ideas[number - 1].model_dump(), **decision.idea_edits.get(number, {})} for number in keep]


def _check_clip_numbers(content: ReviewContent, clips: Collection[int]) -> None:
    numbers = [clip.clip for clip in content.clips] if isinstance(content, FilmContent) else []
    if unknown := sorted(set(clips) - set(numbers)):
        known = ", ".join(map(str, numbers))
        raise InvalidRequest(f"The film has no clip {unknown[0]}; its clips: {known}.", field="clips")


def _check_takes(content: FilmContent, decision: DecisionInput) -> None:
    takes = {clip.clip: clip.takes for clip in content.clips}
    for number, take in decision.takes.items():
        if take not in takes.get(number, []):
            raise InvalidRequest(f"Clip {number} has no take {take}.", field="takes")


def price_usd(approved: ReviewContent, decision: DecisionInput) -> Decimal:
    """Return what the decision lets be ordered, in USD: the approved offer, or other takes of clips."""
    if decision.verdict == "approve" and isinstance(approved, IdeasContent):
        return approved.estimated_usd
    return approved.usd_per_clip * len({note.clip for note in decision.clips})


async def _check_price(ledger: Ledger, run_id: UUID, usd: Decimal) -> None:
    """Raise BudgetExceeded if the ledger would refuse to reserve this amount: the gate stays open."""
    if not usd:
        return
    usd, cap = _usd_to_reserve(ledger, usd), await ledger.tightest_cap(run_id)
    if usd > cap.left_usd:
        amounts = {"usd": usd, "cap_left_usd": cap.left_usd, "cap_usd": cap.cap_usd, "committed_usd": cap.committed_usd}
        details = {name: round(float(amount), 4) for name, amount in amounts.items()}
        raise BudgetExceeded(f"{cap.describe_excess(usd)} The gate stays open.", cap=cap.name, **details)


def _usd_to_reserve(ledger: Ledger, usd: Decimal) -> Decimal:
    """Return this price of clips with that of the caption, which a model writes after they are paid, and has to fit."""
    return usd + ledger.estimated_usd("caption") if usd else usd


def _check_film_length(services: Services, run: RunRow, content: IdeasContent) -> None:
    seconds = resolve_project(services, run.project, run.options).film_seconds_of(len(content.ideas))
    if not MIN_FILM_SECONDS <= seconds <= MAX_FILM_SECONDS:
        limits = f"the minimum is {MIN_FILM_SECONDS} s, the maximum {MAX_FILM_SECONDS} s"
        message = f"The film would be {seconds:g} s long; {limits}."
        raise InvalidRequest(message, field="edits")


async def _check_images(services: Services, content: IdeasContent) -> None:
    """Raise InvalidRequest for an unknown image, and ImageRefused for one that no ordered clip can start from."""
    for number, idea in enumerate(content.ideas, start=1):
        if idea.image:
            clip = (content.provider, content.model, content.size) if number in content.make else None
            await check_image(services, idea.image, clip, f"Idea {number}", field="edits")


async def _check_music(services: Services, decision: DecisionInput) -> None:
    """Raise InvalidRequest for music that is no uploaded sound."""
    music = decision.edits.get("music") if isinstance(decision.edits, dict) else None
    stored = await services.artifacts.find(music["digest"]) if music else None
    if music and (stored is None or stored.kind != intake.SOUND_KIND):
        message = f"Music: no uploaded audio has the digest {music['digest'][:12]}…; upload it first."
        raise InvalidRequest(message, field="edits")


def _new_decision(review: Review, decision: DecisionInput, approved: ReviewContent) -> NewDecision:
    content = decision.model_dump(mode="json", exclude={"keep", "idea_edits", "publish_at", "digest"})
    columns: dict[str, Any] = {name: value or None for name, value in content.items()}
    columns["approved_digest"] = None if decision.verdict == "reject" else approved.digest
    return NewDecision(review.gate, review.revision, seen_digest=review.digest, **columns)


async def _gate_not_open(db: Database, run: RunRow, gate: Gate) -> GateNotOpen:
    review = open_review_of(run)
    open_gate = review.gate if review else None
    state = f"; the {open_gate} gate is" if open_gate else f": the run's status is {run.status}"
    message = f"The {gate} gate is not open{state}."
    last_decision: dict[str, Any] | None = None
    if recorded := await decisions.list_decisions(db, run.id):
        last = recorded[-1]
        message += f" Last decision: {last.verdict} at the {last.gate} gate by {last.actor_name} ({last.actor_id})."
        last_decision = {name: getattr(last, name) for name in ("gate", "revision", "verdict")}
        last_decision |= {"actor": last.actor_json, "decided_at": last.decided_at.isoformat()}
    return GateNotOpen(message, open_gate=open_gate, last_decision=last_decision)
