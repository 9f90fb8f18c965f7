"""Prepare a decision in a talk, and confirm it by its code. A model prepares; only a person's own words confirm."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, cast
from uuid import UUID

from agents.structured import clean_text
from graph.nodes.ideas import clip_numbers_in
from graph.review_content import describe_clips
from graph.state import Gate
from runs.decide import decide
from runs.errors import ApprovalNotPermitted, ConfirmationNotFound, GateNotOpen, InvalidRequest
from runs.queries import get_run
from runs.services import Services
from storage import confirmations as table
from storage.api_keys import ApiKeyRow
from storage.confirmations import DIGITS, LETTERS, PendingConfirmationRow
from storage.decisions import DecisionRow

Verdict = Literal["approve", "revise", "reject"]
Door = Literal["chat", "mcp"]

#: How long a comment may be: all of it is shown to whoever confirms it.
MAX_COMMENT_CHARACTERS = 600

CODE = rf"[{LETTERS}][{DIGITS}][{LETTERS}][{DIGITS}]"
ANY_CODE = re.compile(rf"(?<![A-Z0-9]){CODE}(?![A-Z0-9])", re.IGNORECASE)
REDACTED = "••••"
#: The whole message is the word and the code, with at most a nicety before and marks around it.
COMMAND = re.compile(
    rf"[\W_]*(?:(?:yes|ok|okay|please|i)\b[\W_]*)*(approve|confirm|revise|reject)[\W_]+({CODE})[\W_]*(?:please[\W_]*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ConfirmationCommand:
    """A message that confirms: the word, and the code."""

    word: str
    code: str


@dataclass(frozen=True)
class PendingConfirmation:
    """A decision that waits for a person's word, as it is shown."""

    row: PendingConfirmationRow
    what: str
    estimated_usd: float

    def as_json(self) -> dict[str, Any]:
        """For `pending_decision`."""
        return {
            "run_id": str(self.row["run_id"]),
            "gate": self.row["gate"],
            "revision": self.row["revision"],
            "verdict": self.row["verdict"],
            "what": self.what,
            "estimated_usd": self.estimated_usd,
            "digest": self.row["digest"],
            "code": self.row["code"],
            "expires_at": self.row["expires_at"].astimezone(UTC).isoformat(),
        }

    def as_text(self) -> str:
        """For a talk. No model writes it, and none reads it."""
        until = self.row["expires_at"].astimezone(UTC)
        return (
            f"{self.what}\n"
            f"Run {self.row['run_id']}, {self.row['gate']} gate, revision {self.row['revision']}, "
            f"digest {self.row['digest'][:12]}.\n"
            f"To confirm it yourself, send exactly: {self.row['verdict']} {self.row['code']} "
            f"(until {until:%H:%M} UTC). Nothing happens before."
        )


def parse_command(message: str) -> ConfirmationCommand | None:
    """The confirmation that this message is, and is nothing but; None for any other message."""
    match = COMMAND.fullmatch(message.strip())
    return ConfirmationCommand(match[1].lower(), match[2].upper()) if match else None


def redact_codes(text: str, codes: Collection[str] | None = None) -> str:
    """The text with these codes blackened; without any, whatever could be one."""
    return ANY_CODE.sub(lambda found: REDACTED if codes is None or found[0].upper() in codes else found[0], text)


async def code_redactor(services: Services, who: ApiKeyRow) -> Callable[[str], str]:
    """What blackens the codes that this key was shown: what is read by a model holds none."""
    codes = await table.list_codes(services.db, who.id)
    return lambda text: redact_codes(text, codes)


async def create_pending(
    services: Services,
    run_id: UUID,
    verdict: Verdict,
    *,
    comment: str | None = None,
    who: ApiKeyRow,
    door: Door,
    session: str = "",
) -> PendingConfirmation:
    """The decision about the review that this run has open, under a code. Nothing is decided.

    Raises MayNotDecide, RunNotFound, GateNotOpen or Invalid.
    """
    if not who.can_approve:
        raise ApprovalNotPermitted("This key may not decide: somebody whose key may has to.")
    run = await get_run(services, run_id)
    review = run["review"]
    if review is None:
        raise GateNotOpen(f"No gate of this run is open: it is {run['status']}.", open_gate=None, last_decision=None)
    comment = clean_text(comment or "") or None
    if comment and len(comment) > MAX_COMMENT_CHARACTERS:
        raise InvalidRequest(
            f"A comment that is confirmed by code has at most {MAX_COMMENT_CHARACTERS} characters.", field="comment"
        )
    if verdict == "revise" and not comment:
        raise InvalidRequest("Say in a comment what should change.", field="comment")
    row = await table.create(
        services.db,
        run_id,
        gate=review["gate"],
        revision=review["revision"],
        digest=review["digest"],
        verdict=verdict,
        comment=comment,
        actor_id=who.id,
        session=session,
        door=door,
    )
    if row is None:
        raise InvalidRequest("Too many decisions were prepared here within a day: decide one of them, or elsewhere.")
    usd = _usd(verdict, review, comment or "")
    return PendingConfirmation(row, _what(verdict, review, comment or "", usd), float(usd))


async def confirm(
    services: Services, code: ConfirmationCommand, *, who: ApiKeyRow, door: Door, session: str = ""
) -> tuple[PendingConfirmationRow, DecisionRow | None]:
    """Decide what was prepared under this code, exactly as it was shown; None for a code that was used before.

    Raises MayNotDecide, CodeUnknown (another's code, another conversation's, an expired one), StaleReview when the
    gate shows something else by now, and whatever else `decide` raises.
    """
    if not who.can_approve:
        raise ApprovalNotPermitted("This key may not decide: somebody whose key may has to.")
    row = await table.find(services.db, actor_id=who.id, session=session, code=code.code)
    if row is None or row["door"] != door:
        raise ConfirmationNotFound(f"No decision waits under {code.code} in this conversation.")
    if row["used_at"]:
        return row, None
    if row["expires_at"] <= datetime.now(UTC):
        raise ConfirmationNotFound(f"{code.code} has expired: ask for the decision to be prepared again.")
    if code.word not in ("confirm", row["verdict"]):
        raise ConfirmationNotFound(
            f"{code.code} does not stand for “{code.word}” but for “{row['verdict']}”: nothing is decided."
        )
    decided = await decide(
        services,
        row["run_id"],
        cast("Gate", row["gate"]),
        verdict=cast("Verdict", row["verdict"]),
        comment=row["comment"],
        digest=row["digest"],
        decided_by=who.id,
        channel=door,
    )
    await table.mark_used(services.db, row)
    return row, decided


def outcome(row: PendingConfirmationRow, decided: DecisionRow | None) -> str:
    """What came of a confirmation, in a sentence."""
    if decided is None:
        return f"{row['code']} was used already: it counted once, and counts no more."
    done = {
        ("approve", "ideation"): "Approved: the clips are being made.",
        ("approve", "publish"): "Approved: the film is being published.",
        ("revise", "ideation"): "Changes are asked for: new ideas are on their way.",
        ("revise", "publish"): "Changes are asked for: the film is being changed.",
        ("reject", "ideation"): "Rejected: the run is over.",
        ("reject", "publish"): "Rejected: the run is over, and nothing is published.",
    }
    return f"{done[row['verdict'], row['gate']]} (Run {row['run_id']}, {row['gate']} gate, revision {row['revision']}.)"


def _usd(verdict: Verdict, review: dict[str, Any], comment: str) -> Decimal:
    """What would be spent at most: for the ideas, or for the clips that a comment on the film names."""
    content = review["content"]
    if verdict == "approve":
        return Decimal(content.get("estimated_usd", "0"))
    if verdict == "revise" and review["gate"] == "publish":
        named = clip_numbers_in(comment) & {clip["clip"] for clip in content["clips"]}
        return len(named) * Decimal(content["usd_per_clip"])
    return Decimal(0)


def _what(verdict: Verdict, review: dict[str, Any], comment: str, usd: Decimal) -> str:
    """What is about to be decided. Texts of others stand in quotes, cut short."""
    content = review["content"]
    title = quoted(content.get("title", ""))
    words = quoted(comment, MAX_COMMENT_CHARACTERS)
    if verdict == "revise":
        return f"Ask for changes to {title}, for up to {usd} USD: {words}"
    if verdict == "reject":
        done = f"End the run of {title} for good."
    elif review["gate"] == "ideation":
        many = len(content.get("make", []))
        done = f"Make {many} clip{'' if many == 1 else 's'} of {title} for {usd} USD. {describe_clips(content)}".strip()
    else:
        done = f"Publish the film {title} to {', '.join(content.get('platforms', []))}."
    return f"{done} Your comment: {words}" if comment else done


def quoted(text: str, limit: int = 80) -> str:
    """Somebody's words as a question shows them: in quotes, on one line, cut short, and with no code in them."""
    line = redact_codes(" ".join(str(text).split())).replace("“", "'").replace("”", "'")
    return f"“{line[:limit]}{'…' if len(line) > limit else ''}”"
