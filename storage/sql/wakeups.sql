-- name: make_due
-- A row that is locked is being changed, and that makes it due: to wait for it could end in a deadlock.
with due as (
    update runs set next_wakeup_at = now()
    where id in (select id from runs where id = any(%s::uuid[]) and (next_wakeup_at is null or next_wakeup_at > now())
                 for update skip locked))
select pg_notify('wakeups', '')

-- name: count_workers
select count(*) as workers from pg_locks
where locktype = 'advisory' and objid = %(worker_lock)s and classid = 0 and objsubid = 1 and granted
    and database = (select oid from pg_database where datname = current_database())
