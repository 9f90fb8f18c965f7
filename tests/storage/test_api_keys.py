"""API keys."""

from __future__ import annotations

import asyncio
import hashlib
import re
from datetime import UTC, datetime, timedelta

from storage import api_keys
from storage.api_keys import ApiKeyRow
from storage.database import Database
from storage.migrate import MIGRATIONS


async def find_key(db: Database, key: str) -> ApiKeyRow | None:
    """Return the row of this key, as for a request with it."""
    row, _ = await api_keys.authenticate(db, key, "address:test", limit=1000)
    return row


async def test_sync_makes_the_settings_keys_exactly_those_given(db: Database) -> None:
    """A key that stays, or is given again, keeps its id; one that is not given any more has ended."""
    await api_keys.sync_settings_keys(db, ["one", "two", "two"])
    one, two = await find_key(db, "one"), await find_key(db, "two")
    await api_keys.sync_settings_keys(db, ["three", "one"])
    after = {key: await find_key(db, key) for key in ("one", "two", "three")}
    await api_keys.sync_settings_keys(db, ["two"])
    again = await find_key(db, "two")

    assert one
    assert two
    assert again
    assert {key: row and (row.name, row.has_ended) for key, row in after.items()} == {
        "one": ("settings key 2", False),
        "two": ("settings key 2", True),
        "three": ("settings key 1", False),
    }
    assert after["one"] is not None
    assert (after["one"].id, again.id, again.has_ended) == (one.id, two.id, False)


async def test_an_id_reveals_nothing_about_the_key(db: Database) -> None:
    """Ids are random: another database has another id for the same key."""
    await api_keys.sync_settings_keys(db, ["one"])
    one = await find_key(db, "one")

    assert one is not None
    assert re.fullmatch(r"key_[0-9a-f]{12}", one.id)
    assert one.id[4:] not in hashlib.sha256(b"one").hexdigest()


async def test_sync_leaves_generated_and_added_keys_alone(db: Database) -> None:
    """Only keys of the settings end with them."""
    generated, added = await api_keys.generate_first_key(db), await api_keys.add_key(db, "web", "admin")
    await api_keys.sync_settings_keys(db, ["one"])
    await api_keys.sync_settings_keys(db, ["two"])

    assert generated
    assert added
    rows = [await find_key(db, key) for key in (generated, added[0], "one")]
    assert [row and row.has_ended for row in rows] == [False, False, True]


async def test_rights_are_cumulative(db: Database) -> None:
    """An actor has the rights of its key's level and of those before it; keys of the settings are never admins."""
    await api_keys.sync_settings_keys(db, ["full"], ["limited"])
    added = await api_keys.add_key(db, "boss", "admin")
    full, limited = await find_key(db, "full"), await find_key(db, "limited")

    assert full
    assert limited
    assert added
    assert [sorted(row.actor.rights) for row in (limited, full, added[1])] == [
        ["start"],
        ["approve", "start"],
        ["admin", "approve", "start"],
    ]
    assert limited.actor.as_json() == {"kind": "api_key", "id": limited.id, "name": "limited settings key 1"}
    assert (await api_keys.get_key(db, limited.id) or full).id == limited.id


async def test_a_key_ends_when_it_expires_or_is_revoked(db: Database) -> None:
    """Its row stays. A name is free again after the revocation."""
    first = await api_keys.add_key(db, "web", "start", datetime.now(UTC) + timedelta(days=1))
    assert first
    assert await api_keys.add_key(db, "web", "start") is None
    await db.execute("update api_keys set expires_at = now() - interval '1 second'")
    expired = await find_key(db, first[0])
    revoked = await api_keys.revoke_key(db, "web")
    second = await api_keys.add_key(db, "web", "start")
    by_id = await api_keys.revoke_key(db, first[1].id)

    assert expired
    assert revoked
    assert second
    assert by_id
    assert (expired.has_ended, expired.revoked_at) == (True, None)
    assert (revoked.id, by_id.revoked_at) == (first[1].id, revoked.revoked_at)
    assert not second[1].has_ended
    assert await api_keys.revoke_key(db, "none") is None
    assert [row.id for row in await api_keys.list_keys(db)] == [first[1].id, second[1].id]


async def test_the_use_of_a_key_is_written_at_most_once_a_minute(db: Database) -> None:
    """Between two writes a request reads one row and writes none."""
    await api_keys.sync_settings_keys(db, ["one"])
    version = "select xmin::text, last_used_at from api_keys"
    await find_key(db, "one")
    [first] = await db.fetch_all(version)
    await find_key(db, "one")
    [second] = await db.fetch_all(version)
    await db.execute("update api_keys set last_used_at = now() - interval '61 seconds'")
    await find_key(db, "one")
    [third] = await db.fetch_all(version)

    assert first["last_used_at"] is not None
    assert second == first
    assert third["last_used_at"] > first["last_used_at"]


async def test_first_key_is_generated_once(db: Database) -> None:
    """One of many processes that start on a new database gets the key."""
    await asyncio.gather(*(db.fetch_one("select pg_sleep(0.1)") for _ in range(6)))  # opens all connections
    generated = [key for key in await asyncio.gather(*(api_keys.generate_first_key(db) for _ in range(6))) if key]

    assert len(generated) == 1
    assert re.fullmatch(r"mw_[A-Za-z0-9_-]{32}", generated[0])
    row = await find_key(db, generated[0])
    assert row
    assert (row.name, row.can, row.origin) == ("generated key", "approve", "generated")
    assert await api_keys.generate_first_key(db) is None


async def test_no_key_is_generated_beside_another(db: Database) -> None:
    """Also one that has ended counts: whoever ended it did not mean to have another."""
    await api_keys.add_key(db, "web", "start")
    await api_keys.revoke_key(db, "web")

    assert await api_keys.generate_first_key(db) is None


async def test_key_itself_is_not_stored(db: Database) -> None:
    """No column contains the key."""
    key = await api_keys.generate_first_key(db)
    [row] = await db.fetch_all("select * from api_keys")

    assert key is not None
    assert key not in str(row)


async def test_hostile_key_is_unknown(db: Database) -> None:
    """Any text can be looked up as a key."""
    for key in ("", "\x00", "\ud800", "' or true --", "x" * 100_000):
        assert await find_key(db, key) is None


def test_migration_names_every_table_with_ids_of_keys() -> None:
    """A table with a column `actor_id` is rewritten, except decisions, whose rows are hashed."""
    texts = {path.name: path.read_text() for path in MIGRATIONS.glob("*.sql")}
    tables = {
        match[1]
        for text in texts.values()
        for match in re.finditer(r"create table (\w+) \((.*?)\n\)", text, re.DOTALL)
        if "actor_id" in match[2]
    }
    rewritten = set(re.findall(r"update (\w+) as t set actor_id", texts["0006_keys.sql"]))

    assert rewritten == tables - {"decisions", "prunings"}
