"""API keys."""

from __future__ import annotations

import asyncio
import re

from storage import api_keys
from storage.database import Database


async def test_sync_adds_new_settings_keys_and_removes_missing_ones(db: Database) -> None:
    """A key that stays in the settings keeps its id."""
    await api_keys.sync_settings_keys(db, ["one", "two", "two"])
    one = await api_keys.find_key(db, "one")
    await api_keys.sync_settings_keys(db, ["one", "three"])

    assert one is not None
    assert re.fullmatch(r"key_[0-9a-f]{12}", one.id)
    assert await api_keys.find_key(db, "one") == one
    assert await api_keys.find_key(db, "two") is None
    assert await api_keys.find_key(db, "three") is not None


async def test_sync_without_keys_keeps_a_generated_key(db: Database) -> None:
    """Only keys of the settings are removed."""
    generated = await api_keys.generate_first_key(db)
    assert generated is not None
    await api_keys.sync_settings_keys(db, ["one"])
    await api_keys.sync_settings_keys(db, [])

    assert await api_keys.find_key(db, "one") is None
    assert await api_keys.find_key(db, generated) is not None


async def test_actor_of_a_limited_key_cannot_approve(db: Database) -> None:
    """An actor has the rights of its key."""
    await api_keys.sync_settings_keys(db, ["full"], ["limited"])
    full, limited = await api_keys.find_key(db, "full"), await api_keys.find_key(db, "limited")

    assert full is not None
    assert limited is not None
    assert (full.actor.can_approve, limited.actor.can_approve) == (True, False)
    assert limited.actor.as_json() == {"kind": "api_key", "id": limited.id, "name": "from the settings"}
    assert await api_keys.get_key(db, limited.id) == limited


async def test_first_key_is_generated_once(db: Database) -> None:
    """One of many processes that start on a new database gets the key."""
    await asyncio.gather(*(db.fetch_one("select pg_sleep(0.1)") for _ in range(6)))  # opens all connections
    generated = [key for key in await asyncio.gather(*(api_keys.generate_first_key(db) for _ in range(6))) if key]

    assert len(generated) == 1
    assert re.fullmatch(r"mw_[A-Za-z0-9_-]{32}", generated[0])
    assert await api_keys.find_key(db, generated[0]) is not None
    assert await api_keys.generate_first_key(db) is None


async def test_no_key_is_generated_if_the_settings_have_one(db: Database) -> None:
    """A key in the settings is enough."""
    await api_keys.sync_settings_keys(db, ["one"])

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
        assert await api_keys.find_key(db, key) is None
