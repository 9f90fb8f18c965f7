"""The API keys."""

from __future__ import annotations

import asyncio
import re

from storage import keys
from storage.pool import Database


async def test_settings_keys_are_those_of_the_settings(db: Database) -> None:
    """New ones are known, removed ones are not, and a key that stays keeps its id."""
    await keys.sync_settings_keys(db, ["one", "two", "two"])
    one = await keys.find(db, "one")
    await keys.sync_settings_keys(db, ["one", "three"])

    assert one is not None
    assert re.fullmatch(r"key_[0-9a-f]{12}", one.id)
    assert await keys.find(db, "one") == one
    assert await keys.find(db, "two") is None
    assert await keys.find(db, "three") is not None


async def test_no_key_in_the_settings_removes_those_of_the_settings_only(db: Database) -> None:
    """A generated key stays."""
    generated = await keys.generate(db)
    assert generated is not None
    await keys.sync_settings_keys(db, ["one"])
    await keys.sync_settings_keys(db, [])

    assert await keys.find(db, "one") is None
    assert await keys.find(db, generated) is not None


async def test_the_first_key_is_made_once(db: Database) -> None:
    """Of many that start at once on a new database one is given a key."""
    await asyncio.gather(*(db.fetch_one("select pg_sleep(0.1)") for _ in range(6)))  # all are connected now
    made = [key for key in await asyncio.gather(*(keys.generate(db) for _ in range(6))) if key]

    assert len(made) == 1
    assert re.fullmatch(r"mw_[A-Za-z0-9_-]{32}", made[0])
    assert await keys.find(db, made[0]) is not None
    assert await keys.generate(db) is None


async def test_no_key_is_generated_beside_a_given_one(db: Database) -> None:
    """Whoever gave a key uses that."""
    await keys.sync_settings_keys(db, ["one"])

    assert await keys.generate(db) is None


async def test_the_key_itself_is_not_kept(db: Database) -> None:
    """No row holds it."""
    key = await keys.generate(db)
    [row] = await db.fetch_all("select * from api_keys")

    assert key is not None
    assert key not in str(row)


async def test_a_hostile_key_is_only_unknown(db: Database) -> None:
    """Whatever text it is."""
    for key in ("", "\x00", "\ud800", "' or true --", "x" * 100_000):
        assert await keys.find(db, key) is None
