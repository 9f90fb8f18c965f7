-- name: key
-- A name is hashed to a 64-bit advisory key. Two names with the same key would only wait for each other.
hashtextextended(%(name)s, 7119)

-- name: try_lock
select pg_try_advisory_lock({key}) as locked

-- name: unlock
select pg_advisory_unlock({key})

-- name: keepalives
-- Lets the server notice soon when the client's machine is gone.
set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3

-- name: heartbeat
insert into workers (id, beat_at) values (%(id)s, clock_timestamp())
on conflict (id) do update set beat_at = excluded.beat_at

-- name: disconnect
-- A frozen process keeps its session, and with it its locks, until the session is terminated. Rows without a session
-- are only deleted.
with late as (
    select id from workers where beat_at < clock_timestamp() - make_interval(secs => %(seconds)s)),
sessions as (
    select pid, application_name from pg_stat_activity join late on late.id = application_name
    where datname = current_database() and pid <> pg_backend_pid()),
deleted as (
    delete from workers using late
    where workers.id = late.id and late.id not in (select application_name from sessions))
select count(*) filter (where pg_terminate_backend(pid)) as terminated from sessions
