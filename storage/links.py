"""The note that a reviewer's link was made. The link itself is not kept."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from storage.events import record
from storage.pool import Database


async def note(db: Database, run_id: UUID, *, source: str, nonce: str, said: dict[str, Any]) -> None:
    """Write down that a link was made, by whom and for what."""
    async with db.transaction() as conn:
        await record(conn, source=source, kind="link.made", run_id=run_id, external_id=f"link:{nonce}", payload=said)
