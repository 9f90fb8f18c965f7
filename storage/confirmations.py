"""Pending confirmations: what a person has to confirm with a code within half an hour."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from storage.database import Database, from_now

VALIDITY = timedelta(minutes=30)
RETENTION = timedelta(days=1)
#: Attempts to find a code that is not used in the conversation.
MAX_CODE_ATTEMPTS = 20
#: Without characters that are easily confused. A code is letter, digit, letter, digit: a word in no language.
LETTERS, DIGITS = "ACDEFGHJKMNPQRTUVWXY", "2346789"


@dataclass(frozen=True, kw_only=True)
class NewConfirmation:
    """A decision to confirm, or the end of a run, which has no gate. `session_id` is empty for MCP."""

    actor_id: str
    session_id: str
    channel: str
    run_id: UUID
    gate: str | None = None
    revision: int = 0
    digest: str = ""
    verdict: str
    comment: str | None = None


@dataclass(frozen=True, kw_only=True)
class PendingConfirmationRow(NewConfirmation):
    """A row of `pending_confirmations`."""

    code: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    withdrawn_at: datetime | None


# Repeating a request returns the same row, so a model that tries again and again does not create more of them.
FIND_SAME = """
select * from pending_confirmations
where actor_id = %(actor_id)s and session_id = %(session_id)s and channel = %(channel)s and run_id = %(run_id)s
  and gate is not distinct from %(gate)s and revision = %(revision)s and digest = %(digest)s and verdict = %(verdict)s
  and comment is not distinct from %(comment)s and used_at is null and withdrawn_at is null
  and expires_at > now() + interval '1 minute'
order by expires_at desc limit 1
"""


async def create(db: Database, new: NewConfirmation) -> PendingConfirmationRow | None:
    """Create a pending confirmation, or return the valid one of the same decision; None if few codes are free."""
    if same := await db.fetch_one(FIND_SAME, vars(new), row=PendingConfirmationRow):
        return same
    await db.execute("delete from pending_confirmations where expires_at < now() - %s", (RETENTION,))
    for _ in range(MAX_CODE_ATTEMPTS):
        # A used or expired code is not given out again before its row is deleted.
        values = {**vars(new), "code": _generate_code(), "expires_at": from_now(VALIDITY)}
        if row := await db.insert("pending_confirmations", values):
            return PendingConfirmationRow(**row)
    return None


async def find(db: Database, *, actor_id: str, session_id: str, code: str) -> PendingConfirmationRow | None:
    """Return the confirmation with this code of this actor in this conversation, also if used or expired."""
    query = "select * from pending_confirmations where actor_id = %s and session_id = %s and code = %s"
    return await db.fetch_one(query, (actor_id, session_id, code), row=PendingConfirmationRow)


async def list_codes(db: Database, actor_id: str) -> set[str]:
    """Return every code that this actor was given and that is not deleted."""
    rows = await db.fetch_all("select distinct code from pending_confirmations where actor_id = %s", (actor_id,))
    return {row["code"] for row in rows}


async def mark_used(db: Database, row: PendingConfirmationRow) -> None:
    """Record that the code was used."""
    await db.execute(
        "update pending_confirmations set used_at = now() where actor_id = %(actor_id)s"
        " and session_id = %(session_id)s and code = %(code)s and used_at is null",
        vars(row),
    )


async def list_open(db: Database, actor_id: str, session_id: str) -> dict[str, str]:
    """Return what this actor can confirm in this conversation: verdicts by code, oldest first."""
    query = (
        "select code, verdict from pending_confirmations where actor_id = %s and session_id = %s and used_at is null"
        " and withdrawn_at is null and expires_at > now() order by created_at, code"
    )
    return {row["code"]: row["verdict"] for row in await db.fetch_all(query, (actor_id, session_id))}


async def withdraw(db: Database, actor_id: str, session_id: str, codes: Collection[str]) -> None:
    """Record that these codes of this actor in this conversation no longer count."""
    await db.execute(
        "update pending_confirmations set withdrawn_at = now() where actor_id = %s and session_id = %s"
        " and code = any(%s) and used_at is null",
        (actor_id, session_id, list(codes)),
    )


def _generate_code() -> str:
    return "".join(secrets.choice(alphabet) for alphabet in (LETTERS, DIGITS, LETTERS, DIGITS))
