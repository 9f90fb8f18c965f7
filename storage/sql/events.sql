-- name: record
-- The number is drawn from the run's own row, which stays locked until the commit: no smaller number can appear after
-- a reader has seen this one. A repeated event draws a number and leaves it unused.
with numbered as (update runs set last_seq = last_seq + 1 where id = %s returning last_seq)
insert into events (run_id, seq, source, dedup_key, kind, subject, payload)
values (%s, (select last_seq from numbered), %s, %s, %s, %s, %s)
on conflict (source, dedup_key) do nothing

-- name: numbered_event
-- For a statement whose `numbered` has the id of a run and the number that was drawn from its row.
insert into events (run_id, seq, source, dedup_key, kind, subject, payload)
select id, last_seq, %(event_source)s, gen_random_uuid()::text, %(event_kind)s, %(event_subject)s, %(event_payload)s
from numbered

-- name: change_with_event
-- A change of an order with its event. The order is locked before its run. An order of the chat has no run.
with changed as ({}), numbered as (
    update runs set last_seq = last_seq + 1,
        next_wakeup_at = case when %(event_wakes)s then now() else next_wakeup_at end
    where id = (select run_id from changed) returning id, last_seq
), recorded as (
    insert into events (run_id, seq, source, dedup_key, kind, subject, payload)
    select run_id, (select last_seq from numbered), %(event_source)s, gen_random_uuid()::text, %(event_kind)s,
        %(event_subject)s, %(event_payload)s from changed
)
select * from changed

-- name: record_webhook
-- One statement: the order of the task becomes due, and the event is recorded with its run. The order is locked before
-- the run, as wherever both change. Without an order the run of the hint counts, if there is one.
with due as (
    update orders set next_poll_at = case when settled_at is null then now() end
    where provider = %(provider)s and (task_id = %(task_id)s or task_id is null and key = %(order_key)s)
      and not exists (select from events where source = %(source)s and dedup_key = %(webhook_id)s)
    returning key, run_id),
hinted as (select id from runs where id = coalesce((select run_id from due), %(run_id)s::uuid)),
numbered as (update runs set last_seq = last_seq + 1 where id = (select id from hinted) returning id, last_seq),
recorded as (
    insert into events (run_id, seq, source, dedup_key, kind, subject, payload)
    select (select id from numbered), (select last_seq from numbered), %(source)s, %(webhook_id)s, 'webhook.received',
           %(task_id)s, %(payload)s
    on conflict (source, dedup_key) do nothing returning id)
select exists (select from recorded) as is_new, (select key from due) as order_key

-- name: find_link
-- With its sources, so that the unique index finds it.
select run_id, payload ->> 'gate' as gate, (payload ->> 'revision')::int as revision, payload ->> 'digest' as digest,
       (payload ->> 'expires_at')::timestamptz as expires_at, payload ->> 'link' as nonce,
       payload #>> '{actor,kind}' as creator_kind, payload #>> '{actor,id}' as creator_id
from events where source = any(%s) and dedup_key = %s and payload ? 'digest'

-- name: of_run
select seq, kind, source, subject, payload, created_at from events where run_id = %s

-- name: after
{of_run} and seq > %s order by seq limit %s

-- name: last_of_kind
{of_run} and kind = %s order by seq desc limit 1
