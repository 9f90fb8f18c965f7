"""Whose a talk with the supervisor is."""

from __future__ import annotations

from storage.pool import Database


async def belongs(db: Database, session_id: str, who: str) -> bool:
    """Whether the session is this one's: whoever names it first, keeps it."""
    row = await db.fetch_one(
        """with new as (insert into chat_sessions (id, started_by) values (%(id)s, %(who)s)
            on conflict (id) do nothing returning started_by)
        select started_by from new union all select started_by from chat_sessions where id = %(id)s limit 1""",
        {"id": session_id, "who": who},
    )
    return row is not None and row["started_by"] == who
