"""Prepare a decision, and confirm it by its code. A model can prepare; only the person's own message confirms."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple, cast
from uuid import UUID

from typing_extensions import TypedDict  # pydantic accepts the one of `typing` from Python 3.12 on only

from agents.texts import clean_text
from chat.questions import CODE, MAX_COMMENT_CHARACTERS, SHORTENED, describe_decision, redact_codes
from graph.decisions import DecisionInput, Gate, Verdict
from graph.review_content import FilmContent, IdeasContent, Review
from runs.decide import check_approval_right, decide
from runs.errors import ConfirmationNotFound, InvalidRequest
from runs.media_links import artifact_link
from runs.queries import get_run, no_open_review, open_review_of
from runs.services import Services
from storage import confirmations as table
from storage.actors import RequestContext
from storage.confirmations import NewConfirmation, PendingConfirmationRow
from storage.database import Database
from storage.decisions import DecisionRow

#: The whole message is the word and the code, with at most a polite phrase before and punctuation around them.
COMMAND = re.compile(
    rf"[\W_]*(?:(?:yes|ok|okay|please|i)\b[\W_]*)*(approve|confirm|revise|reject)[\W_]+({CODE})[\W_]*(?:please[\W_]*)?",
    re.IGNORECASE,
)
#: The outcome of a decision in words, by verdict and gate.
OUTCOMES = {
    ("approve", "ideation"): "Approved: the clips are being generated.",
    ("approve", "publish"): "Approved: the film is being published.",
    ("revise", "ideation"): "Changes requested: new ideas are being written, and will be shown for review.",
    ("revise", "publish"): "Changes requested: the film is being changed, and will be shown for review.",
    ("reject", "ideation"): "Rejected: the run has ended.",
    ("reject", "publish"): "Rejected: the run has ended, and nothing is published.",
}


class ConfirmationCommand(NamedTuple):
    """A message that confirms: its word (`approve`, `revise`, `reject` or `confirm`) and its code."""

    word: str
    code: str


class PendingConfirmation(TypedDict):
    """A decision that waits for confirmation, as JSON: `pending_decision` of the API."""

    run_id: str
    gate: str
    revision: int
    verdict: str
    what: str
    estimated_usd: float
    digest: str
    code: str
    expires_at: str


def parse_command(message: str) -> ConfirmationCommand | None:
    """Return the confirmation that the message consists of, or None for any other message."""
    match = COMMAND.fullmatch(message.strip())
    return ConfirmationCommand(match[1].lower(), match[2].upper()) if match else None


async def code_redactor(db: Database, actor_id: str) -> Callable[[str], str]:
    """Return a function that redacts the codes that the actor was shown: no model ever reads them."""
    codes = await table.list_codes(db, actor_id)
    return lambda text: redact_codes(text, codes)


async def create_pending(
    db: Database,
    run_id: UUID,
    verdict: Verdict,
    *,
    comment: str | None = None,
    context: RequestContext,
    session_id: str = "",
    base_url: str = "",
) -> PendingConfirmation:
    """Prepare a decision about the review that the run has open, under a code. Nothing is decided.

    The link to the film starts with `base_url`. Prepared again while the code is valid, it is the same decision.
    Raises ApprovalNotPermitted, RunNotFound, GateNotOpen or InvalidRequest.
    """
    check_approval_right(context.actor)
    run = await get_run(db, run_id)
    review = open_review_of(run)
    if review is None:
        raise no_open_review(run.status)
    comment = clean_text(comment or "")
    if len(comment) > MAX_COMMENT_CHARACTERS:
        raise InvalidRequest(
            f"A comment that is confirmed by code has at most {MAX_COMMENT_CHARACTERS} characters.", field="comment"
        )
    if verdict == "revise" and not comment:
        raise InvalidRequest("Describe the requested changes in `comment`.", field="comment")
    new = NewConfirmation(
        actor_id=context.actor.id,
        session_id=session_id,
        channel=context.channel,
        run_id=run_id,
        **review.model_dump(include={"gate", "revision", "digest"}),
        verdict=verdict,
        comment=comment or None,
    )
    row = await table.create(db, new)
    if row is None:
        raise InvalidRequest("Too many decisions were prepared in this session within a day: decide in the console.")
    usd, content = _cost_usd(verdict, review), review.content
    film_url = await artifact_link(db, content.film.digest, base_url) if isinstance(content, FilmContent) else ""
    return {
        "run_id": str(row.run_id),
        "gate": row.gate,
        "revision": row.revision,
        "verdict": row.verdict,
        "what": describe_decision(verdict, content, comment, usd, film_url),
        "estimated_usd": float(usd),
        "digest": row.digest,
        "code": row.code,
        "expires_at": row.expires_at.astimezone(UTC).isoformat(),
    }


async def confirm(
    services: Services, command: ConfirmationCommand, *, context: RequestContext, session_id: str = ""
) -> tuple[PendingConfirmationRow, DecisionRow | None]:
    """Record the decision that was prepared under this code, exactly as it was shown; None for a used code.

    Raises ApprovalNotPermitted; ConfirmationNotFound for an unknown or expired code and for one of another actor,
    session or channel; StaleReview when the review has changed; and as `decide` does.
    """
    check_approval_right(context.actor)
    code = command.code
    row = await table.find(services.db, actor_id=context.actor.id, session_id=session_id, code=code)
    if row is None or row.channel != context.channel:
        raise ConfirmationNotFound(f"No decision waits for the code {code} in this conversation.")
    if row.used_at:
        return row, None
    if row.expires_at <= datetime.now(UTC):
        raise ConfirmationNotFound(f"The code {code} has expired: prepare the decision again.")
    if command.word not in ("confirm", row.verdict):
        raise ConfirmationNotFound(f"The code {code} is for “{row.verdict}”, not for “{command.word}”.")
    decision = await decide(
        services,
        row.run_id,
        cast("Gate", row.gate),
        DecisionInput(verdict=cast("Verdict", row.verdict), comment=row.comment or "", digest=row.digest),
        context,
    )
    await table.mark_used(services.db, row)
    return row, decision


def describe_review(pending: PendingConfirmation) -> str:
    """Return what would be decided, about which review."""
    return (
        f"{pending['what']}\nRun {pending['run_id']}, {pending['gate']} gate, revision {pending['revision']}, "
        f"digest {pending['digest'][:12]}."
    )


def shows_content(pending: PendingConfirmation) -> bool:
    """Return whether the question shows the whole content that would be approved."""
    return pending["verdict"] == "approve" and SHORTENED not in pending["what"]


def describe_pending(pending: PendingConfirmation) -> str:
    """Return the question for the person in a chat. It contains the code, so no model writes or reads it."""
    return (
        f"{describe_review(pending)}\n"
        f"To confirm it yourself, send exactly: {pending['verdict']} {pending['code']} "
        f"(until {datetime.fromisoformat(pending['expires_at']):%H:%M} UTC). Nothing happens before."
    )


def describe_outcome(row: PendingConfirmationRow, decision: DecisionRow | None) -> str:
    """Return the outcome of a confirmation as a sentence."""
    if decision is None:
        return f"The code {row.code} was used already; nothing has changed."
    verdict, _, effect = OUTCOMES[row.verdict, row.gate].partition(":")
    return f"{verdict} by {decision.actor_name}:{effect} (Run {row.run_id}, {row.gate} gate, revision {row.revision}.)"


def _cost_usd(verdict: Verdict, review: Review) -> Decimal:
    """Return the cost of the decision. A comment orders nothing."""
    if verdict == "approve" and isinstance(review.content, IdeasContent):
        return review.content.estimated_usd
    return Decimal(0)
