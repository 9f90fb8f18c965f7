"""Whose a talk with the supervisor is, and which thread remembers it."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

from psycopg.rows import DictRow

from storage.database import Database


async def claim_session(db: Database, session_id: str, who: str) -> bool:
    """Whether the session is this one's: whoever names it first, keeps it."""
    await db.execute(
        "insert into chat_sessions (id, started_by) values (%s, %s) on conflict (id) do nothing", (session_id, who)
    )
    # A statement of its own: the one above does not see who began it at the same moment.
    row = await db.fetch_one("select started_by from chat_sessions where id = %s", (session_id,))
    return row is not None and row["started_by"] == who


def thread_id_of(session_id: str) -> str:
    """The id of the LangGraph thread of a talk."""
    return str(uuid5(NAMESPACE_URL, f"myloware:chat:{session_id}"))


async def list_newest(db: Database, *, limit: int) -> list[DictRow]:
    """The talks, the newest first: `id`, `started_by` and `created_at`."""
    return await db.fetch_all("select * from chat_sessions order by created_at desc limit %s", (limit,))
