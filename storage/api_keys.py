"""API keys, and the tokens of the console that act for them: sessions and sign-in links. Only digests are stored."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, LiteralString, get_args

from pydantic import BaseModel

from providers.orders import digest_of
from storage.actors import Actor, RequestContext, Right
from storage.database import Connection, Database, fetch_all, fetch_one, read_statements
from storage.events import record_event
from storage.rate_limits import ADMIT, seconds_to_wait

#: What a key can do; each level includes those before it.
LEVELS: tuple[Right, ...] = get_args(Right)
Origin = Literal["settings", "generated", "added"]
#: Names of added keys. Those of keys of the settings contain spaces.
NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_@.-]{0,63}$"

sql = read_statements(
    "api_keys",
    admit=ADMIT.format("(select coalesce((select id from key where not has_ended), %(address)s) as client)"),
)


class KeyView(BaseModel, frozen=True):
    """An API key, without the key itself."""

    id: str
    name: str
    can: Right
    origin: Origin
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    added_by: str | None = None
    revoked_by: str | None = None


class LastAdminKey(Exception):
    """The key is the last valid one that can manage keys."""


class ApiKeyRow(KeyView, frozen=True):
    """A known key. `id` is random, public and safe to log."""

    former_id: str | None
    has_ended: bool

    @property
    def actor(self) -> Actor:
        """Return the actor that authenticates with this key."""
        rights = frozenset(LEVELS[: LEVELS.index(self.can) + 1])
        return Actor("api_key", self.id, self.name, rights)


async def sync_settings_keys(db: Database, keys: Sequence[str], limited: Sequence[str] = ()) -> None:
    """Make the keys of the settings exactly these; the `limited` ones cannot approve. Other keys are left alone."""
    given = [(_digest(key), f"settings key {n}", "approve") for n, key in enumerate(keys, start=1)]
    given += [(_digest(key), f"limited settings key {n}", "start") for n, key in enumerate(limited, start=1)]
    values = {name: [row[n] for row in given] for n, name in enumerate(("digests", "names", "levels"))}
    async with db.transaction() as connection:
        await connection.execute(sql["lock"])
        await connection.execute(sql["sync"], values)


async def generate_first_key(db: Database) -> str | None:
    """Generate a key into an empty table, and return it; it cannot be read again. Return None if there was one."""
    row = await _add(db, sql["add_first"], ("generated key", "approve", "generated", None))
    return row and row[0]


async def add_key(
    db: Database, name: str, can: Right, expires_at: datetime | None = None, *, context: RequestContext | None = None
) -> tuple[str, ApiKeyRow] | None:
    """Add a key and return it with its row; it cannot be read again. Return None for the name of another valid key."""
    return await _add(db, sql["add"], (name, can, "added", expires_at, name), context=context)


async def _add(
    db: Database, insert: LiteralString, values: tuple[object, ...], *, context: RequestContext | None = None
) -> tuple[str, ApiKeyRow] | None:
    key = f"mw_{secrets.token_urlsafe(24)}"
    async with db.transaction() as connection:
        # Of several processes that add the same key, one does.
        await connection.execute(sql["lock"])
        row = await fetch_one(connection, insert, (_digest(key), *values), row=ApiKeyRow)
        if row and context:
            row = await _record(connection, "key.added", row.id, context)
    return (key, row) if row else None


async def _record(connection: Connection, kind: str, key_id: str, context: RequestContext) -> ApiKeyRow:
    """Record an event of a key in the audit log, once, and return the key."""
    payload, event_id = {"actor": context.actor.as_json()}, f"{kind}:{key_id}"
    await record_event(connection, context.channel, kind, None, payload, subject=key_id, dedup_key=event_id)
    [row] = await fetch_all(connection, sql["one"], (key_id,), row=ApiKeyRow)
    return row


async def revoke_key(
    db: Database, name_or_id: str, *, context: RequestContext | None = None, keep_admin: bool = False
) -> ApiKeyRow | None:
    """End a key and return it; None if there is no such key. Its row stays, because the history names it.

    With `keep_admin`, raises LastAdminKey for the last valid key that can manage keys.
    """
    values = {"key": name_or_id}
    async with db.transaction() as connection:
        await connection.execute(sql["lock"])
        if keep_admin and await fetch_one(connection, sql["last_admin"], values) is not None:
            raise LastAdminKey
        row = await fetch_one(connection, sql["revoke"], values, row=ApiKeyRow)
        return await _record(connection, "key.revoked", row.id, context) if row and context else row


async def list_keys(db: Database) -> list[ApiKeyRow]:
    """Return every key, the oldest first."""
    return await db.fetch_all(sql["list"], row=ApiKeyRow)


async def authenticate(db: Database, key: str | None, address: str, *, limit: int) -> tuple[ApiKeyRow | None, int]:
    """Count a request, and return the row of its key, or None, and the seconds to wait if the limit is exceeded.

    It counts for the key if that is valid, and otherwise for the address. The duration reveals nothing about a wrong
    key.
    """
    values = {"digest": key and _digest(key), "address": address, "limit": limit}
    [found] = await db.fetch_all(sql["authenticate"], values)
    is_admitted = found.pop("is_admitted")
    row = ApiKeyRow(**found) if found["id"] else None
    if is_admitted:
        return row, 0
    return row, await seconds_to_wait(db, row.id if row and not row.has_ended else address, limit=limit)


async def get_key(db: Database, key_id: str) -> ApiKeyRow | None:
    """Return the row of the key with this public id, which may be that of version 0.2; None if there is none."""
    return await db.fetch_one(sql["get"], (key_id,), row=ApiKeyRow)


async def add_token(db: Database, kind: Literal["session", "link"], key_id: str, valid_for: timedelta) -> str:
    """Add a token that acts for this key, and return it; it cannot be read again."""
    token = secrets.token_urlsafe(32)
    await db.execute(sql["add_token"], (digest_of(token), kind, key_id, valid_for))
    return token


async def find_session_key(db: Database, token: str) -> ApiKeyRow | None:
    """Return the key that a session acts for; None if the session or its key has ended."""
    return await db.fetch_one(sql["session_key"], (digest_of(token),), row=ApiKeyRow)


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


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
