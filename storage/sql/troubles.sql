-- name: report
with before as (select code from troubles where subject = %(subject)s)
insert into troubles (subject, run_id, code, message) values (%(subject)s, %(run_id)s, %(code)s, %(message)s)
on conflict (subject) do update set code = excluded.code, message = excluded.message,
    attempts = troubles.attempts + 1
returning (select code from before) is distinct from code as is_changed

-- name: end
-- With an event of the run if attention was requested.
with ended as (delete from troubles where subject = %(subject)s returning *),
numbered as (
    update runs set last_seq = last_seq + 1 where id = (select run_id from ended where attention_at is not null)
    returning id, last_seq
), recorded as (
    insert into events (run_id, seq, source, dedup_key, kind, subject, payload)
    select id, numbered.last_seq, 'sweep', gen_random_uuid()::text, 'run.attention_ended', subject,
        jsonb_build_object('code', code, 'message', message)
    from numbered, ended
)
select attempts, code from ended

-- name: counts
-- A trouble counts while its run goes on and, if it is one of an order, while the run waits for that order.
    from troubles join runs on runs.id = troubles.run_id left join orders on orders.key = troubles.subject
    where runs.status not in ('completed', 'failed')
        and (orders.key is null or orders.state in ('reserved', 'submitted'))

-- name: raise
update troubles set attention_at = now() from (
    select troubles.subject as found, runs.status, runs.current_step {counts}
    and attention_at is null and since <= now() - %s for update of troubles skip locked) as late
where subject = found returning *

-- name: waiting
-- For a row of `runs`. A trouble comes first, the oldest of several; without one the oldest order, and without orders
-- the step.
select awaited.subject, provider, awaited.since, awaited.code, awaited.message, awaited.attempts, next_attempt_at,
    scheduled_for, exists (select {counts} and attention_at is not null and troubles.run_id = run.id) as needs_attention
from (
    select key as subject, provider, coalesce(since, submitted_at, created_at) as since, code, message,
        coalesce(attempts, 0) as attempts, next_poll_at as next_attempt_at, 1 as rank,
        nullif(greatest((request ->> 'publish_at')::timestamptz, now()), now()) as scheduled_for
    from orders left join troubles on subject = key
    where orders.run_id = run.id and kind <> 'model' and state in ('reserved', 'submitted')
    union all
    select run.id::text, null, coalesce(since, run.updated_at), code, message, coalesce(attempts, 0),
        run.next_wakeup_at, 2, null
    from (select) as step left join troubles on subject = run.id::text) as awaited
where run.status not in ('completed', 'failed') and run.review is null
order by awaited.code is null, rank, awaited.since limit 1

-- name: subjects
select troubles.subject {counts} and troubles.run_id = %s
