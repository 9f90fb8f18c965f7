-- Requests are counted by the second: a row keeps its size, whatever the limit is. Processes of version 0.2 use
-- rate_limit_hits until they are stopped.
create unlogged table rate_limits (
    client  text primary key,
    second  bigint not null,     -- of the last request, since 1970
    counts  integer[] not null   -- requests in that second and in each of the sixty before it
) with (fillfactor = 50);

-- A list of the runs with a rare status.
create index runs_by_status on runs (status, created_at desc, id desc);
