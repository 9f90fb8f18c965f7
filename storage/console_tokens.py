"""Tokens of the console, of sessions and of sign-in links. Only the digest of a token is stored."""

import secrets
from datetime import timedelta
from typing import Literal

from providers.orders import digest_of
from storage.api_keys import COLUMNS, USED, ApiKeyRow
from storage.database import Database, read_statements

sql = read_statements("console_tokens", columns=COLUMNS, used=USED)


async def add_token(db: Database, kind: Literal["session", "link"], key_id: str, valid_for: timedelta) -> str:
    """Add a token that acts for this key, and return it; it cannot be read again."""
    token = secrets.token_urlsafe(32)
    await db.execute(sql["add"], (digest_of(token), kind, key_id, valid_for))
    return token


async def find_session_key(db: Database, token: str) -> ApiKeyRow | None:
    """Return the key that a session acts for; None if the session or its key has ended."""
    return await db.fetch_one(sql["find"], (digest_of(token),), row=ApiKeyRow)


async def take_link_key_id(db: Database, token: str) -> str | None:
    """Delete a sign-in link and return the id of its key; None if it was used or has expired."""
    row = await db.change(sql["take_link"], (digest_of(token),))
    return row["key_id"] if row else None


async def delete_session(db: Database, token: str) -> None:
    """End a session."""
    await db.execute("delete from console_tokens where digest = %s", (digest_of(token),))


async def find_operator_key(db: Database) -> ApiKeyRow | None:
    """Return the key that the operator's sign-in link acts for, or None if there is no valid key."""
    return await db.fetch_one(sql["operator_key"], row=ApiKeyRow)
