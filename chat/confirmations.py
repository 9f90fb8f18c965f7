"""Prepare a decision or the end of a run, and confirm it by its code.

A model can prepare; only the person's own message confirms, or withdraws.
"""

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import UUID

from typing_extensions import TypedDict  # pydantic accepts the one of `typing` from Python 3.12 on only

from chat.commands import ConfirmationCommand
from chat.questions import (
    MAX_COMMENT_CHARACTERS,
    MAX_QUESTION_CHARACTERS,
    SHORTENED,
    describe_cancellation,
    describe_decision,
    describe_retry,
)
from graph.decisions import DecisionInput, Gate, Verdict
from graph.review_content import FilmContent, edited_content
from graph.status import TERMINAL_STATUSES
from runs.decide import check_approval_right, check_decision, decide, price_usd
from runs.errors import ConfirmationNotFound, InvalidRequest
from runs.links import artifact_link
from runs.queries import get_run, no_open_review, open_review_of
from runs.retry_quotes import RetryQuote
from runs.run_requests import cancel_run, retry_run
from runs.services import Services
from storage import confirmations as table
from storage.actors import RequestContext
from storage.confirmations import NewConfirmation, PendingConfirmationRow
from storage.database import Database
from storage.runs import RunRow

_FILE = Path(__file__).with_name("outcomes.toml")
#: The outcome of a confirmation in words, by verdict and gate; at no gate by "none".
OUTCOMES: Mapping[str, Mapping[str, str]] = tomllib.loads(_FILE.read_text(encoding="utf-8"))


class Outcome(NamedTuple):
    """The outcome of a confirmation in a sentence. It is not new if the code was used before."""

    row: PendingConfirmationRow
    text: str
    is_new: bool


class PendingConfirmation(TypedDict):
    """A decision that waits for confirmation, as JSON; at no gate the end of a run (`cancel`) or a retry (`approve`).

    `shows_review` tells whether `what` shows the whole content of the review, as it is.
    """

    run_id: str
    gate: str | None
    revision: int
    verdict: str
    what: str
    shows_review: bool
    estimated_usd: float
    digest: str
    code: str
    expires_at: str


async def create_pending(
    services: Services,
    run_id: UUID,
    decision: DecisionInput,
    *,
    context: RequestContext,
    session_id: str = "",
    base_url: str = "",
) -> PendingConfirmation:
    """Prepare a decision about the review that the run has open, under a code. Nothing is decided.

    The link to the film starts with `base_url`. Prepared again while the code is valid, it is the same decision.
    Raises ApprovalNotPermitted, RunNotFound, GateNotOpen or InvalidRequest.
    """
    check_approval_right(context.actor)
    run = await get_run(services.db, run_id)
    review = open_review_of(run)
    if review is None:
        raise no_open_review(run.status)
    decision, _ = await check_decision(services, run, review.content, decision)
    if len(decision.comment) > MAX_COMMENT_CHARACTERS:
        raise InvalidRequest(
            f"A comment that is confirmed by code has at most {MAX_COMMENT_CHARACTERS} characters.", field="comment"
        )
    fields = {**review.model_dump(include={"gate", "revision", "digest"}), "verdict": decision.verdict}
    text = decision.model_dump_json(exclude_defaults=True, exclude={"digest"})
    return await store_pending(services.db, run, context, session_id, base_url, **fields, comment=text)


async def list_pending(db: Database, actor_id: str, session_id: str) -> list[PendingConfirmation]:
    """Return what the actor can confirm in the session, as it was shown, oldest first; links have no host.

    A decision about a review that has changed since is left out, and so is the end of a run that has ended.
    """
    rows = await table.list_open(db, actor_id, session_id)
    found = [(row, await get_run(db, row.run_id)) for row in rows.values()]
    return [await _describe(db, row, run) for row, run in found if _is_current(row, run)]


def _is_current(row: PendingConfirmationRow, run: RunRow) -> bool:
    review = open_review_of(run)
    if row.gate is None:
        return run.status not in (TERMINAL_STATUSES if row.verdict == "cancel" else ("completed",))
    return review is not None and (review.gate, review.digest) == (row.gate, row.digest)


def _decision_of(row: NewConfirmation) -> DecisionInput:
    """Return the decision that is stored. A row that an earlier version wrote has a comment in place of it."""
    text = row.comment or ""
    if text.startswith('{"verdict":'):
        return DecisionInput.model_validate_json(text)
    return DecisionInput(verdict=cast("Verdict", row.verdict), comment=text)


async def store_pending(
    db: Database, run: RunRow, context: RequestContext, session_id: str, base_url: str = "", **fields: Any
) -> PendingConfirmation:
    """Store what was checked under a code: these fields of `NewConfirmation`. Raises InvalidRequest."""
    sender: dict[str, Any] = {"actor_id": context.actor.id, "channel": context.channel, "session_id": session_id}
    new = NewConfirmation(run_id=run.id, **sender, **fields)
    if len((await _describe_content(db, new, run, base_url))[0]) > MAX_QUESTION_CHARACTERS:
        raise InvalidRequest("These are too many texts to confirm by code: decide in the console.")
    row = await table.create(db, new)
    if row is None:
        raise InvalidRequest("Too many decisions were prepared in this session within a day: decide in the console.")
    return await _describe(db, row, run, base_url)


async def _describe_content(db: Database, new: NewConfirmation, run: RunRow, base_url: str) -> tuple[str, Decimal]:
    """Return what the confirmation is about, and its cost in USD: the open review of the run, or the run."""
    review = open_review_of(run)
    if new.gate and review:
        decision, content = _decision_of(new), review.content
        usd = price_usd(edited_content(content, decision.edits, decision.sample), decision)
        film_url = await artifact_link(db, content.film.digest, base_url) if isinstance(content, FilmContent) else ""
        return describe_decision(decision, content, usd, film_url), usd
    if new.verdict == "cancel":
        return describe_cancellation(run), Decimal(0)
    quote = RetryQuote.model_validate_json(new.comment or "")
    return describe_retry(run, quote), quote.usd


async def _describe(db: Database, row: PendingConfirmationRow, run: RunRow, base_url: str = "") -> PendingConfirmation:
    what, usd = await _describe_content(db, row, run, base_url)
    is_plain = (
        row.gate is not None and row.verdict == "approve" and not (_decision_of(row).edits or _decision_of(row).sample)
    )
    return {
        "run_id": str(row.run_id),
        "gate": row.gate,
        "revision": row.revision,
        "verdict": row.verdict,
        "what": what,
        "shows_review": is_plain and SHORTENED not in what,
        "estimated_usd": float(usd),
        "digest": row.digest,
        "code": row.code,
        "expires_at": row.expires_at.astimezone(UTC).isoformat(),
    }


async def confirm(
    services: Services, command: ConfirmationCommand, *, context: RequestContext, session_id: str = ""
) -> Outcome:
    """Do what was prepared under this code, exactly as it was shown.

    Raises ApprovalNotPermitted; ConfirmationNotFound for an unknown or expired code and for one of another actor,
    session or channel; StaleReview when the review has changed; and as `decide` and `cancel_run` do.
    """
    if command.word != "cancel":
        check_approval_right(context.actor)
    code = command.code
    row = await table.find(services.db, actor_id=context.actor.id, session_id=session_id, code=code)
    if row is None or row.channel != context.channel:
        raise ConfirmationNotFound(f"No decision waits for the code {code} in this conversation.")
    if row.used_at:
        return Outcome(row, f"The code {code} was used already; nothing has changed.", is_new=False)
    if row.withdrawn_at:
        raise ConfirmationNotFound(f"The code {code} was withdrawn: prepare it again.")
    if row.expires_at <= datetime.now(UTC):
        raise ConfirmationNotFound(f"The code {code} has expired: prepare the decision again.")
    if command.word not in ("confirm", row.verdict):
        raise ConfirmationNotFound(f"The code {code} is for “{row.verdict}”, not for “{command.word}”.")
    await _carry_out(services, row, context)
    await table.mark_used(services.db, row)
    return Outcome(row, _describe_outcome(row, context.actor.name), is_new=True)


async def _carry_out(services: Services, row: PendingConfirmationRow, context: RequestContext) -> None:
    if row.verdict == "cancel":
        await cancel_run(services, row.run_id, context)
    elif row.gate is None:
        choices = RetryQuote.model_validate_json(row.comment or "").choices
        await retry_run(services, row.run_id, confirm=row.digest or None, context=context, **vars(choices))
    else:
        chosen = _decision_of(row).model_copy(update={"digest": row.digest})
        await decide(services, row.run_id, cast("Gate", row.gate), chosen, context)


def describe_review(pending: PendingConfirmation) -> str:
    """Return what would be decided, about which review."""
    gate = f", {pending['gate']} gate, revision {pending['revision']}, digest {pending['digest'][:12]}"
    return f"{pending['what']}\n\nRun {pending['run_id']}{gate if pending['gate'] else ''}."


def describe_pending(questions: Sequence[PendingConfirmation]) -> str:
    """Return the questions for the person in a chat. They contain the codes, so no model writes or reads them."""
    described = [_describe_question(pending) for pending in questions]
    if len(questions) > 1:
        usd = sum(pending["estimated_usd"] for pending in questions)
        described.append(f"These are {len(questions)} questions, each with its own code; all cost {usd:.2f} USD.")
    return "\n\n".join(described)


def _describe_question(pending: PendingConfirmation) -> str:
    return (
        f"{describe_review(pending)}\n\n"
        f"To confirm it yourself, send exactly: {pending['verdict']} {pending['code']} "
        f"(until {datetime.fromisoformat(pending['expires_at']):%H:%M} UTC). Nothing happens before."
    )


def _describe_outcome(row: PendingConfirmationRow, actor_name: str) -> str:
    is_scheduled = row.gate == "publish" and '"publish_at":' in (row.comment or "")
    place = "scheduled" if is_scheduled and row.verdict == "approve" else row.gate or "none"
    verdict, _, effect = OUTCOMES[row.verdict][place].partition(":")
    gate = f", {row.gate} gate, revision {row.revision}" if row.gate else ""
    return f"{verdict} by {actor_name}:{effect} (Run {row.run_id}{gate}.)"
