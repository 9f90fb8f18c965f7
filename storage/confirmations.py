"""Pending confirmations: what a person has to confirm with a code within half an hour."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from storage.database import Database, from_now, read_statements

VALIDITY = timedelta(minutes=30)
RETENTION = timedelta(days=1)
#: Attempts to find a code that is not used in the conversation.
MAX_CODE_ATTEMPTS = 20
#: Without characters that are easily confused. A code is letter, digit, letter, digit: a word in no language.
LETTERS, DIGITS = "ACDEFGHJKMNPQRTUVWXY", "2346789"


@dataclass(frozen=True, kw_only=True)
class NewConfirmation:
    """A decision to confirm, or the end or a retry of a run, which have no gate. `session_id` is empty for MCP.

    `comment` holds the whole decision or retry as JSON.
    """

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


sql = read_statements("confirmations")


async def create(db: Database, new: NewConfirmation) -> PendingConfirmationRow | None:
    """Create a pending confirmation, or return the valid one of the same decision; None if few codes are free."""
    if same := await db.fetch_one(sql["find_same"], vars(new), row=PendingConfirmationRow):
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
    return await db.fetch_one(sql["find"], (actor_id, session_id, code), row=PendingConfirmationRow)


async def list_codes(db: Database, actor_id: str) -> set[str]:
    """Return every code that this actor was given and that is not deleted."""
    rows = await db.fetch_all("select distinct code from pending_confirmations where actor_id = %s", (actor_id,))
    return {row["code"] for row in rows}


async def mark_used(db: Database, row: PendingConfirmationRow) -> None:
    """Record that the code was used."""
    await db.execute(sql["mark_used"], vars(row))


async def list_open(db: Database, actor_id: str, session_id: str) -> dict[str, PendingConfirmationRow]:
    """Return what this actor can confirm in this conversation, by code, oldest first."""
    rows = await db.fetch_all(sql["list_open"], (actor_id, session_id), row=PendingConfirmationRow)
    return {row.code: row for row in rows}


async def withdraw(db: Database, actor_id: str, session_id: str, codes: Collection[str]) -> None:
    """Record that these codes of this actor in this conversation no longer count."""
    await db.execute(sql["withdraw"], (actor_id, session_id, list(codes)))


def _generate_code() -> str:
    return "".join(secrets.choice(alphabet) for alphabet in (LETTERS, DIGITS, LETTERS, DIGITS))
