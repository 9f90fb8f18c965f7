"""Decisions that were prepared in a talk: under a code, for one key and one conversation, for half an hour."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any, TypedDict, cast
from uuid import UUID

from storage.database import Database

VALID = timedelta(minutes=30)
KEPT = timedelta(days=1)
#: How many codes are tried before it is said that none is free.
TRIES = 20
#: Nothing that is read as something else. Letter, digit, letter, digit: no word of any language looks like that.
LETTERS, DIGITS = "ACDEFGHJKMNPQRTUVWXY", "2346789"


class PendingConfirmationRow(TypedDict):
    """A row of `pending_confirmations`."""

    actor_id: str
    session: str
    code: str
    door: str
    run_id: UUID
    gate: str
    revision: int
    digest: str
    verdict: str
    comment: str | None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


# Asked for twice, it is the same one: a model that tries again and again does not make more of them.
SAME = """
select * from pending_confirmations
where actor_id = %(actor_id)s and session = %(session)s and door = %(door)s and run_id = %(run_id)s
  and gate = %(gate)s and revision = %(revision)s and digest = %(digest)s and verdict = %(verdict)s
  and comment is not distinct from %(comment)s and used_at is null and expires_at > now() + interval '1 minute'
order by expires_at desc limit 1
"""

INSERT = """
insert into pending_confirmations (actor_id, session, code, door, run_id, gate, revision, digest, verdict, comment,
                                expires_at)
values (%(actor_id)s, %(session)s, %(code)s, %(door)s, %(run_id)s, %(gate)s, %(revision)s, %(digest)s,
        %(verdict)s, %(comment)s, now() + %(valid)s)
on conflict do nothing
returning *
"""


async def create(
    db: Database,
    run_id: UUID,
    *,
    gate: str,
    revision: int,
    digest: str,
    verdict: str,
    comment: str | None,
    actor_id: str,
    session: str,
    door: str,
) -> PendingConfirmationRow | None:
    """The decision under its code; the one there is, if the same was prepared already and is still good.

    None when nearly every code of this conversation is taken.
    """
    values: dict[str, Any] = {
        "run_id": run_id,
        "gate": gate,
        "revision": revision,
        "digest": digest,
        "verdict": verdict,
        "comment": comment,
        "actor_id": actor_id,
        "session": session,
        "door": door,
        "valid": VALID,
    }
    if same := await db.fetch_one(SAME, values):
        return cast("PendingConfirmationRow", same)
    await db.execute("delete from pending_confirmations where expires_at < now() - %s", (KEPT,))
    for _ in range(TRIES):
        # A code that is taken is not given again before it is forgotten.
        if row := await db.fetch_one(INSERT, {**values, "code": _code()}):
            return cast("PendingConfirmationRow", row)
    return None


async def find(db: Database, *, actor_id: str, session: str, code: str) -> PendingConfirmationRow | None:
    """What stands under this code for this key in this conversation, used and expired ones too."""
    row = await db.fetch_one(
        "select * from pending_confirmations where actor_id = %s and session = %s and code = %s",
        (actor_id, session, code),
    )
    return cast("PendingConfirmationRow | None", row)


async def list_codes(db: Database, actor_id: str) -> set[str]:
    """Every code that this key was given and that is not forgotten yet."""
    rows = await db.fetch_all("select distinct code from pending_confirmations where actor_id = %s", (actor_id,))
    return {row["code"] for row in rows}


async def mark_used(db: Database, row: PendingConfirmationRow) -> None:
    """The code has done its work."""
    await db.execute(
        "update pending_confirmations set used_at = now() where actor_id = %s and session = %s and code = %s"
        " and used_at is null",
        (row["actor_id"], row["session"], row["code"]),
    )


def _code() -> str:
    return "".join(secrets.choice(signs) for signs in (LETTERS, DIGITS, LETTERS, DIGITS))
