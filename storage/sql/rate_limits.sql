-- name: admit
-- The running second and the minute before it count, so that no minute admits more requests than the limit. The sum is
-- read under the lock of the row, so two requests never use the same last place; a request that is refused changes
-- nothing. The commit does not wait for the disk: a crash of the server loses the counts of its last moment at most.
-- To be completed with the source of the client's name.
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

-- name: counts
select counts[:61 - greatest(extract(epoch from clock_timestamp())::bigint - second, 0)] as counts
from rate_limits where client = %s
