"""API keys. Only the digest of a key is stored."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from storage.actors import Actor
from storage.database import Database

# All processes lock the rows in the same order, so that they cannot deadlock.
SYNC = """
insert into api_keys (id, name, digest, origin, can_approve)
select 'key_' || left(digest, 12), 'from the settings', digest, 'settings', digest <> all(%(limited)s::text[])
from unnest(%(digests)s::text[]) as digest order by digest
on conflict (digest) do update set origin = 'settings', name = excluded.name, can_approve = excluded.can_approve
    where api_keys.origin <> 'settings' or api_keys.can_approve <> excluded.can_approve
"""
KEYS: LiteralString = "select id, name, can_approve from api_keys"


@dataclass(frozen=True)
class ApiKeyRow:
    """A known key. `id` is public and safe to log."""

    id: str
    name: str
    can_approve: bool

    @property
    def actor(self) -> Actor:
        """Return the actor that authenticates with this key."""
        return Actor("api_key", self.id, self.name, frozenset(("start", "approve") if self.can_approve else ("start",)))


async def sync_settings_keys(db: Database, keys: Sequence[str], limited: Sequence[str] = ()) -> None:
    """Store the keys of the settings; the `limited` ones cannot approve.

    Keys of earlier settings that are not given any more are removed.
    """
    digests = sorted({_digest(key) for key in (*keys, *limited)})
    async with db.transaction() as connection:
        await connection.execute(SYNC, {"digests": digests, "limited": [_digest(key) for key in limited]})
        removed = "delete from api_keys where origin = 'settings' and digest <> all(%s::text[])"
        await connection.execute(removed, (digests,))


async def generate_first_key(db: Database) -> str | None:
    """Generate a key if there is none, and return it; it cannot be read again. Return None if there is one."""
    key = f"mw_{secrets.token_urlsafe(24)}"
    digest = _digest(key)
    async with db.transaction() as connection:
        # One of several processes that start on a new database generates the key.
        await connection.execute("lock table api_keys in share row exclusive mode")
        inserted = await connection.execute(
            "insert into api_keys (id, name, digest, origin) select %s, 'generated', %s, 'generated' "
            "where not exists (select from api_keys)",
            (f"key_{digest[:12]}", digest),
        )
    return key if inserted.rowcount == 1 else None


async def find_key(db: Database, key: str) -> ApiKeyRow | None:
    """Return the row of this key, or None. The duration reveals nothing about how close a wrong key is."""
    return await db.fetch_one(KEYS + " where digest = %s", (_digest(key),), row=ApiKeyRow)


async def get_key(db: Database, key_id: str) -> ApiKeyRow | None:
    """Return the row of the key with this public id, or None."""
    return await db.fetch_one(KEYS + " where id = %s", (key_id,), row=ApiKeyRow)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
