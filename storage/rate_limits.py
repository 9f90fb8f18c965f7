"""Rate limits, counted in the database for all processes together."""

import math

from storage.database import Database

# The times of the last requests in a sliding window. They are read under the lock of the row, so two requests never
# use the same last place; a request that is refused changes nothing.
ADMIT = """
insert into rate_limit_hits as r (client, hits) values (%(client)s, array[clock_timestamp()])
on conflict (client) do update
    set hits = array(select hit from unnest(r.hits) as hit
                     where hit > clock_timestamp() - make_interval(secs => %(seconds)s) order by hit)
               || clock_timestamp()
    where (select count(*) from unnest(r.hits) as hit
           where hit > clock_timestamp() - make_interval(secs => %(seconds)s)) < %(limit)s
"""

# A place is free again when the oldest of the last `limit` requests leaves the window.
WAIT = """
select extract(epoch from min(hit) + make_interval(secs => %(seconds)s) - clock_timestamp())::float8 as seconds
from (select hit from rate_limit_hits, unnest(hits) as hit where client = %(client)s
      order by hit desc limit %(limit)s) as last
"""


async def admit(db: Database, client: str, *, limit: int = 60, seconds: float = 60) -> int:
    """Count a request of the client and return 0, or return the whole seconds to wait (at least 1), uncounted.

    No window of `seconds` admits more than `limit` requests, however they are spaced.
    """
    params = {"client": client, "limit": limit, "seconds": seconds}
    if await db.execute(ADMIT, params) == 1:
        return 0
    [row] = await db.fetch_all(WAIT, params)
    return max(1, math.ceil(row["seconds"] or 0))


async def forget_idle(db: Database, *, seconds: float = 60) -> int:
    """Delete clients without a request for `seconds`, and return their number. An address may never return."""
    return await db.execute(
        "delete from rate_limit_hits where hits[cardinality(hits)] < clock_timestamp() - make_interval(secs => %s)",
        (seconds,),
    )
