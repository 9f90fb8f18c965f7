"""The API keys: of a key only its digest is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from storage.database import Database

# Rows are taken in one order by all processes, so that none waits for another in a circle.
GIVEN = """
insert into api_keys (id, name, digest, origin, can_approve)
select 'key_' || left(digest, 12), 'from the settings', digest, 'settings', digest <> all(%(limited)s::text[])
from unnest(%(digests)s::text[]) as digest order by digest
on conflict (digest) do update set origin = 'settings', name = excluded.name, can_approve = excluded.can_approve
    where api_keys.origin <> 'settings' or api_keys.can_approve <> excluded.can_approve
"""


@dataclass(frozen=True)
class ApiKeyRow:
    """A key that is known. `id` is its public half, fit for logs."""

    id: str
    name: str
    can_approve: bool = True


async def sync_settings_keys(db: Database, keys: Sequence[str], limited: Sequence[str] = ()) -> None:
    """Make `keys`, and the `limited` ones that may not decide, the keys that the settings give.

    Those they gave earlier and do not give now are removed.
    """
    digests = sorted({_digest(key) for key in (*keys, *limited)})
    async with db.transaction() as connection:
        await connection.execute(GIVEN, {"digests": digests, "limited": [_digest(key) for key in limited]})
        await connection.execute(
            "delete from api_keys where origin = 'settings' and digest <> all(%s::text[])",
            (digests,),
        )


async def generate_first_key(db: Database) -> str | None:
    """A new key, told this once, if there is no key at all; else None."""
    key = f"mw_{secrets.token_urlsafe(24)}"
    digest = _digest(key)
    async with db.transaction() as connection:
        # Of several processes that start at once on a new database one makes the key.
        await connection.execute("lock table api_keys in share row exclusive mode")
        made = await connection.execute(
            "insert into api_keys (id, name, digest, origin) select %s, 'generated', %s, 'generated' "
            "where not exists (select from api_keys)",
            (f"key_{digest[:12]}", digest),
        )
    return key if made.rowcount == 1 else None


async def find_key(db: Database, key: str) -> ApiKeyRow | None:
    """The key, if it is one of ours. The time it takes does not tell how nearly right a wrong one is."""
    row = await db.fetch_one("select id, name, can_approve from api_keys where digest = %s", (_digest(key),))
    return None if row is None else ApiKeyRow(row["id"], row["name"], row["can_approve"])


async def can_approve(db: Database, who: str) -> bool:
    """Whether this one may decide at gates: whoever is no key, and every key that was not given without that right."""
    row = await db.fetch_one("select can_approve from api_keys where id = %s", (who,))
    return bool(row["can_approve"]) if row else not who.startswith("key_")


async def get_secret(db: Database, name: str) -> bytes:
    """The secret of that name of this database. Of several processes that need it first, one makes it."""
    await db.execute(
        "insert into secrets (name, value) values (%s, %s) on conflict (name) do nothing",
        (name, secrets.token_bytes(32)),
    )
    row = await db.fetch_one("select value from secrets where name = %s", (name,))
    assert row is not None  # noqa: S101 - it was put there
    return bytes(row["value"])


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
