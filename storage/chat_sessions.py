"""Chat sessions: the actor of each, and its LangGraph thread."""

from dataclasses import dataclass
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from storage.database import Database


@dataclass(frozen=True)
class ChatSessionRow:
    """A row of `chat_sessions`."""

    id: str
    actor_id: str
    created_at: datetime


async def claim_session(db: Database, session_id: str, actor_id: str) -> bool:
    """Return whether the session belongs to this actor. A new session belongs to the first actor that names it."""
    await db.insert("chat_sessions", {"id": session_id, "actor_id": actor_id})
    # A separate statement: the one above does not see a row that was inserted concurrently.
    [row] = await db.fetch_all("select * from chat_sessions where id = %s", (session_id,), row=ChatSessionRow)
    return row.actor_id == actor_id


async def is_session_of(db: Database, session_id: str, actor_id: str) -> bool:
    """Return whether the session exists and belongs to this actor."""
    owned = "select 1 from chat_sessions where id = %s and actor_id = %s"
    return bool(await db.fetch_all(owned, (session_id, actor_id)))


def thread_id_of(session_id: str) -> str:
    """Return the id of the LangGraph thread of a session."""
    return str(uuid5(NAMESPACE_URL, f"myloware:chat:{session_id}"))


async def list_newest(db: Database, *, limit: int) -> list[ChatSessionRow]:
    """Return sessions, newest first."""
    newest = "select * from chat_sessions order by created_at desc limit %s"
    return await db.fetch_all(newest, (limit,), row=ChatSessionRow)
