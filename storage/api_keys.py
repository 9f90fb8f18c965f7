"""API keys. Only the digest of a key is stored."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, LiteralString, get_args

from pydantic import BaseModel

from storage.actors import Actor, Right
from storage.database import Database, fetch_one
from storage.rate_limits import ADMIT, seconds_to_wait

#: What a key can do; each level includes those before it.
LEVELS: tuple[Right, ...] = get_args(Right)
Origin = Literal["settings", "generated", "added"]
#: Names of added keys. Those of keys of the settings contain spaces.
NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_@.-]{0,63}$"

# The keys of earlier settings that are not given any more end. One that is given again keeps its id.
SYNC = """
with given as (
    select distinct on (digest) digest, name, can
    from unnest(%(digests)s::text[], %(names)s::text[], %(levels)s::text[])
        with ordinality as key (digest, name, can, place)
    order by digest, place
), ended as (
    update api_keys set revoked_at = now()
    where origin = 'settings' and revoked_at is null and digest not in (select digest from given)
)
insert into api_keys (id, digest, name, can, origin)
select 'key_' || left(replace(gen_random_uuid()::text, '-', ''), 12), digest, name, can, 'settings' from given
on conflict (digest) do update
set origin = 'settings', name = excluded.name, can = excluded.can, expires_at = null, revoked_at = null
"""
COLUMNS: LiteralString = """id, name, can, origin, created_at, expires_at, last_used_at, revoked_at, former_id,
    revoked_at is not null or coalesce(expires_at <= now(), false) as has_ended"""
INSERT: LiteralString = """
insert into api_keys (id, digest, name, can, origin, expires_at)
select 'key_' || left(replace(gen_random_uuid()::text, '-', ''), 12), %s, %s, %s, %s, %s
"""
# A use is written at most once a minute.
USED: LiteralString = """used as (
    update api_keys set last_used_at = now() where id = (
        select id from key
        where not has_ended and (last_used_at is null or last_used_at < now() - interval '1 minute')))"""
AUTHENTICATE: LiteralString = f"""
with key as (select {COLUMNS} from api_keys where digest = %(digest)s), {USED},
admitted as ({ADMIT.format("(select coalesce((select id from key where not has_ended), %(address)s) as client)")})
select key.*, exists (select from admitted) as is_admitted from (select) as request left join key on true
"""  # noqa: S608 - constants


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


class ApiKeyRow(KeyView, frozen=True):
    """A known key. `id` is random, public and safe to log."""

    former_id: str | None
    has_ended: bool

    @property
    def actor(self) -> Actor:
        """Return the actor that authenticates with this key."""
        return Actor("api_key", self.id, self.name, rights_of(self.can))


def rights_of(level: Right) -> frozenset[Right]:
    """Return the rights of a level."""
    return frozenset(LEVELS[: LEVELS.index(level) + 1])


async def sync_settings_keys(db: Database, keys: Sequence[str], limited: Sequence[str] = ()) -> None:
    """Make the keys of the settings exactly these; the `limited` ones cannot approve. Other keys are left alone."""
    given = [(key, f"settings key {n}", "approve") for n, key in enumerate(keys, start=1)]
    given += [(key, f"limited settings key {n}", "start") for n, key in enumerate(limited, start=1)]
    async with db.transaction() as connection:
        await connection.execute("lock table api_keys in share row exclusive mode")
        await connection.execute(
            SYNC,
            {
                "digests": [_digest(key) for key, _, _ in given],
                "names": [name for _, name, _ in given],
                "levels": [level for _, _, level in given],
            },
        )


async def generate_first_key(db: Database) -> str | None:
    """Generate a key into an empty table, and return it; it cannot be read again. Return None if there was one."""
    row = await _add(db, "not exists (select from api_keys)", ("generated", "approve", "generated", None))
    return row and row[0]


async def add_key(
    db: Database, name: str, can: Right, expires_at: datetime | None = None
) -> tuple[str, ApiKeyRow] | None:
    """Add a key and return it with its row; it cannot be read again. Return None for the name of another valid key."""
    is_free = "not exists (select from api_keys where name = %s and revoked_at is null)"
    return await _add(db, is_free, (name, can, "added", expires_at), name)


async def _add(
    db: Database, condition: LiteralString, values: tuple[object, ...], *parameters: object
) -> tuple[str, ApiKeyRow] | None:
    key = f"mw_{secrets.token_urlsafe(24)}"
    async with db.transaction() as connection:
        # Of several processes that add the same key, one does.
        await connection.execute("lock table api_keys in share row exclusive mode")
        insert: LiteralString = f"{INSERT} where {condition} returning {COLUMNS}"
        row = await fetch_one(connection, insert, (_digest(key), *values, *parameters), row=ApiKeyRow)
    return (key, row) if row else None


async def revoke_key(db: Database, name_or_id: str) -> ApiKeyRow | None:
    """End a key and return it; None if there is no such key. Its row stays, because the history names it."""
    revoke: LiteralString = f"""
        update api_keys set revoked_at = coalesce(revoked_at, now())
        where id = %(key)s or (name = %(key)s and revoked_at is null) returning {COLUMNS}"""  # noqa: S608 - constants
    return await db.fetch_one(revoke, {"key": name_or_id}, row=ApiKeyRow)


async def list_keys(db: Database) -> list[ApiKeyRow]:
    """Return every key, the oldest first."""
    select: LiteralString = f"select {COLUMNS} from api_keys order by created_at, name"  # noqa: S608 - constants
    return await db.fetch_all(select, row=ApiKeyRow)


async def authenticate(db: Database, key: str | None, address: str, *, limit: int) -> tuple[ApiKeyRow | None, int]:
    """Count a request, and return the row of its key, or None, and the seconds to wait if the limit is exceeded.

    It counts for the key if that is valid, and otherwise for the address. The duration reveals nothing about a wrong
    key.
    """
    values = {"digest": key and _digest(key), "address": address, "limit": limit}
    [found] = await db.fetch_all(AUTHENTICATE, values)
    is_admitted = found.pop("is_admitted")
    row = ApiKeyRow(**found) if found["id"] else None
    if is_admitted:
        return row, 0
    return row, await seconds_to_wait(db, row.id if row and not row.has_ended else address, limit=limit)


async def get_key(db: Database, key_id: str) -> ApiKeyRow | None:
    """Return the row of the key with this public id, which may be that of version 0.2; None if there is none."""
    select: LiteralString = f"select {COLUMNS} from api_keys where %s in (id, former_id)"  # noqa: S608 - constants
    return await db.fetch_one(select, (key_id,), row=ApiKeyRow)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
