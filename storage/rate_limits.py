"""Rate limits: requests per minute, counted in the database for all processes together."""

from storage.database import Database, read_statements

sql = read_statements("rate_limits")
ADMIT = sql["admit"]


async def admit(db: Database, client: str, *, limit: int) -> int:
    """Count a request of the client and return 0, or return the seconds to wait, uncounted. See `seconds_to_wait`."""
    if await db.fetch_one(ADMIT.format("(select %(client)s::text as client)"), {"client": client, "limit": limit}):
        return 0
    return await seconds_to_wait(db, client, limit=limit)


async def seconds_to_wait(db: Database, client: str, *, limit: int) -> int:
    """Return the whole seconds, from 1 to 61, after which the limit admits another request of the client."""
    row = await db.fetch_one(sql["counts"], (client,))
    counts: list[int] = row["counts"] if row else []
    wait = 1
    # Of the counts, the newest first, one leaves the minute in each second.
    while sum(counts[: max(len(counts) - wait, 0)]) >= limit:
        wait += 1
    return wait


async def forget_idle(db: Database) -> int:
    """Delete clients without a request that counts, and return their number. An address may never return."""
    return await db.execute("delete from rate_limits where second < extract(epoch from clock_timestamp()) - 61")
