"""The secret that signs reviewers' links, and the note that one was made."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import UUID

from storage.events import record
from storage.pool import Database

LINKS = "reviewers' links"


async def signing_key(db: Database) -> bytes:
    """The one key of this database. Of several processes that need it first, one makes it."""
    await db.execute(
        "insert into secrets (name, value) values (%s, %s) on conflict (name) do nothing",
        (LINKS, secrets.token_bytes(32)),
    )
    row = await db.fetch_one("select value from secrets where name = %s", (LINKS,))
    assert row is not None  # noqa: S101 - it was put there
    return bytes(row["value"])


async def note(db: Database, run_id: UUID, *, source: str, nonce: str, said: dict[str, Any]) -> None:
    """Write down that a link was made; the link itself is not kept."""
    async with db.transaction() as conn:
        await record(conn, source=source, kind="link.made", run_id=run_id, external_id=f"link:{nonce}", payload=said)
