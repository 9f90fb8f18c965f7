"""The API keys."""

from __future__ import annotations

import asyncio
import re

from storage import api_keys
from storage.database import Database


async def test_settings_keys_are_those_of_the_settings(db: Database) -> None:
    """New ones are known, removed ones are not, and a key that stays keeps its id."""
    await api_keys.sync_settings_keys(db, ["one", "two", "two"])
    one = await api_keys.find_key(db, "one")
    await api_keys.sync_settings_keys(db, ["one", "three"])

    assert one is not None
    assert re.fullmatch(r"key_[0-9a-f]{12}", one.id)
    assert await api_keys.find_key(db, "one") == one
    assert await api_keys.find_key(db, "two") is None
    assert await api_keys.find_key(db, "three") is not None


async def test_no_key_in_the_settings_removes_those_of_the_settings_only(db: Database) -> None:
    """A generated key stays."""
    generated = await api_keys.generate_first_key(db)
    assert generated is not None
    await api_keys.sync_settings_keys(db, ["one"])
    await api_keys.sync_settings_keys(db, [])

    assert await api_keys.find_key(db, "one") is None
    assert await api_keys.find_key(db, generated) is not None


async def test_the_first_key_is_made_once(db: Database) -> None:
    """Of many that start at once on a new database one is given a key."""
    await asyncio.gather(*(db.fetch_one("select pg_sleep(0.1)") for _ in range(6)))  # all are connected now
    made = [key for key in await asyncio.gather(*(api_keys.generate_first_key(db) for _ in range(6))) if key]

    assert len(made) == 1
    assert re.fullmatch(r"mw_[A-Za-z0-9_-]{32}", made[0])
    assert await api_keys.find_key(db, made[0]) is not None
    assert await api_keys.generate_first_key(db) is None


async def test_no_key_is_generated_beside_a_given_one(db: Database) -> None:
    """Whoever gave a key uses that."""
    await api_keys.sync_settings_keys(db, ["one"])

    assert await api_keys.generate_first_key(db) is None


async def test_the_key_itself_is_not_kept(db: Database) -> None:
    """No row holds it."""
    key = await api_keys.generate_first_key(db)
    [row] = await db.fetch_all("select * from api_keys")

    assert key is not None
    assert key not in str(row)


async def test_a_hostile_key_is_only_unknown(db: Database) -> None:
    """Whatever text it is."""
    for key in ("", "\x00", "\ud800", "' or true --", "x" * 100_000):
        assert await api_keys.find_key(db, key) is None
