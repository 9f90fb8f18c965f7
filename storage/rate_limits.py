"""Rate limits: requests per minute, counted in the database for all processes together."""

from typing import LiteralString

from storage.database import Database

# The running second and the minute before it count, so that no minute admits more requests than the limit. The sum is
# read under the lock of the row, so two requests never use the same last place; a request that is refused changes
# nothing. The commit does not wait for the disk: a crash of the server loses the counts of its last moment at most.
# To be completed with the source of the client's name.
ADMIT: LiteralString = """
insert into rate_limits as r (client, second, counts)
select client, extract(epoch from clock_timestamp())::bigint, array[1] || array_fill(0, array[60])
from {} as request cross join set_config('synchronous_commit', 'off', true)
on conflict (client) do update set (second, counts) = (
        select r.second + passed,
            case when passed = 0 then array[r.counts[1] + 1] || r.counts[2:]
            else (array[1] || array_fill(0, array[least(passed, 61) - 1]) || r.counts)[:61] end
        from (select greatest(excluded.second - r.second, 0)::integer as passed) as clock)
    where (select coalesce(sum(requests), 0)
           from unnest(r.counts[:61 - greatest(excluded.second - r.second, 0)]) as requests) < %(limit)s
returning client
"""
COUNTS = """
select counts[:61 - greatest(extract(epoch from clock_timestamp())::bigint - second, 0)] as counts
from rate_limits where client = %s
"""


async def admit(db: Database, client: str, *, limit: int) -> int:
    """Count a request of the client and return 0, or return the seconds to wait, uncounted. See `seconds_to_wait`."""
    if await db.fetch_one(ADMIT.format("(select %(client)s::text as client)"), {"client": client, "limit": limit}):
        return 0
    return await seconds_to_wait(db, client, limit=limit)


async def seconds_to_wait(db: Database, client: str, *, limit: int) -> int:
    """Return the whole seconds, from 1 to 61, after which the limit admits another request of the client."""
    row = await db.fetch_one(COUNTS, (client,))
    counts: list[int] = row["counts"] if row else []
    wait = 1
    # Of the counts, the newest first, one leaves the minute in each second.
    while sum(counts[: max(len(counts) - wait, 0)]) >= limit:
        wait += 1
    return wait


async def forget_idle(db: Database) -> int:
    """Delete clients without a request that counts, and return their number. An address may never return."""
    return await db.execute("delete from rate_limits where second < extract(epoch from clock_timestamp()) - 61")
