"""Signing secrets, generated once per database."""

from secrets import token_bytes

from storage.database import Database


async def get_secret(db: Database, name: str) -> bytes:
    """Return the secret of this name. One of several processes that need it first generates it."""
    await db.insert("secrets", {"name": name, "value": token_bytes(32)})
    [row] = await db.fetch_all("select value from secrets where name = %s", (name,))
    return bytes(row["value"])
