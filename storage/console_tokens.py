"""Tokens of the console, of sessions and of sign-in links. Only the digest of a token is stored."""

import secrets
from datetime import timedelta
from typing import Literal, LiteralString

from providers.orders import digest_of
from storage.api_keys import COLUMNS, USED, ApiKeyRow
from storage.database import Database

TokenKind = Literal["session", "link"]

# Expired tokens are deleted whenever one is added.
ADD: LiteralString = """
with expired as (delete from console_tokens where expires_at <= now())
insert into console_tokens (digest, kind, key_id, expires_at) values (%s, %s, %s, now() + %s)
"""
# A use of the key is written at most once a minute, as by a request with the key.
FIND: LiteralString = f"""
with key as (
    select {COLUMNS} from api_keys where id = (
        select key_id from console_tokens where digest = %s and kind = 'session' and expires_at > now())), {USED}
select * from key where not has_ended
"""  # noqa: S608 - constants
# The operator's own key before those that were added for others.
OPERATOR_KEY: LiteralString = f"""
select * from (select {COLUMNS} from api_keys) as keys where not has_ended
order by can = 'start', origin = 'added', created_at, name limit 1
"""  # noqa: S608 - constants


async def add_token(db: Database, kind: TokenKind, key_id: str, valid_for: timedelta) -> str:
    """Add a token that acts for this key, and return it; it cannot be read again."""
    token = secrets.token_urlsafe(32)
    await db.execute(ADD, (digest_of(token), kind, key_id, valid_for))
    return token


async def find_session_key(db: Database, token: str) -> ApiKeyRow | None:
    """Return the key that a session acts for; None if the session or its key has ended."""
    return await db.fetch_one(FIND, (digest_of(token),), row=ApiKeyRow)


async def take_link_key_id(db: Database, token: str) -> str | None:
    """Delete a sign-in link and return the id of its key; None if it was used or has expired."""
    take = "delete from console_tokens where digest = %s and kind = 'link' and expires_at > now() returning key_id"
    row = await db.change(take, (digest_of(token),))
    return row["key_id"] if row else None


async def delete_session(db: Database, token: str) -> None:
    """End a session."""
    await db.execute("delete from console_tokens where digest = %s", (digest_of(token),))


async def find_operator_key(db: Database) -> ApiKeyRow | None:
    """Return the key that the operator's sign-in link acts for, or None if there is no valid key."""
    return await db.fetch_one(OPERATOR_KEY, row=ApiKeyRow)
