-- name: make_due
-- A row that is locked is being changed, and that makes it due: to wait for it could end in a deadlock.
with due as (
    update runs set next_wakeup_at = now()
    where id in (select id from runs where id = any(%s::uuid[]) and (next_wakeup_at is null or next_wakeup_at > now())
                 for update skip locked))
select pg_notify('wakeups', '')
