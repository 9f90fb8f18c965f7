"""The note that a reviewer's link was made. The link itself is not kept."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from storage.database import Database
from storage.events import record_event


async def record_link_created(db: Database, run_id: UUID, *, source: str, nonce: str, said: dict[str, Any]) -> None:
    """Write down that a link was made, by whom and for what."""
    async with db.transaction() as conn:
        await record_event(
            conn, source=source, kind="link.created", run_id=run_id, external_id=f"link:{nonce}", payload=said
        )
