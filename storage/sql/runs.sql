-- name: in_full
select run.*, costs.*, to_jsonb(waiting) as waiting
from runs as run cross join lateral ({costs_of_run} run.id::text) as costs
    left join lateral ({waiting}) as waiting on true
where {}

-- name: served
-- Records that the actor is served the open reviews: see `runs/served_reviews.py`.
with found as ({}), served as (
    insert into served_reviews (actor_id, run_id, gate, revision, digest)
    select %(actor_id)s, id, review ->> 'gate', (review ->> 'revision')::integer, review ->> 'digest' from found
    where review is not null
    on conflict do nothing
)
select * from found order by created_at desc, id desc

-- name: films
select distinct on (project) project, film from (
    select project, artifacts #>> '{final_video,digest}' as film, created_at from runs
    where status = 'completed' order by created_at desc limit 200
) as newest where film is not null order by project, created_at desc

-- name: newest_changes
-- What is no run is the thread of a chat session.
select followed.id, coalesce(runs.last_seq::text,
    (select max(checkpoint_id) from checkpoints where thread_id = followed.id::text)) as newest
from unnest(%s::uuid[]) as followed (id) left join runs on runs.id = followed.id

-- name: save_projection
with numbered as (
    update runs set status = %(status)s, current_step = %(current_step)s, revision = %(revision)s, review = %(review)s,
        artifacts = %(artifacts)s, error = %(error)s, attempts = %(attempts)s,
        next_wakeup_at = now() + %(wake_in)s::interval, updated_at = now(),
        last_seq = last_seq + (%(event_kind)s::text is not null)::integer
    where id = %(id)s
      -- A process that is not the driver any more has an outdated view.
      and driver = current_setting('application_name')
      -- A cancelled run stays cancelled.
      and error ->> 'code' is distinct from 'cancelled'
      -- A review that was decided after the thread was read does not open again. The statement does not see a decision
      -- for whose commit it waited: that one has changed the row.
      and (%(read_at)s::timestamptz is null or updated_at = %(read_at)s)
      and not (%(review)s::jsonb is not null and exists (
          select from decisions where run_id = runs.id and gate = %(review)s::jsonb ->> 'gate'
              and revision = (%(review)s::jsonb ->> 'revision')::int))
    returning id, last_seq
), recorded as ({numbered_event} where %(event_kind)s::text is not null)
select id from numbered

-- name: record_step
with numbered as (
    update runs set status = 'running', current_step = %(step)s, review = null, updated_at = now(),
        next_wakeup_at = now() + %(wake_in)s, last_seq = last_seq + 1
    where id = %(id)s and status not in ('completed', 'failed') and driver = current_setting('application_name')
    returning id, last_seq
) {numbered_event}

-- name: claim_due
-- `skip locked` gives concurrent workers different rows. A row whose new time comes before the work on it has ended is
-- claimed again: the locks keep one process at it.
update runs set next_wakeup_at = now() + interval '1.5 seconds'
where id in (select id from runs where next_wakeup_at <= now() and (%(only)s::uuid[] is null or id = any(%(only)s))
             order by next_wakeup_at limit %(limit)s for update skip locked)
returning id

-- name: short_ids
-- The ids directly before and after an id are those that share the longest start with it.
with listed as (
    select id, (select other.id from runs other where other.id < runs.id order by id desc limit 1) as before,
        (select other.id from runs other where other.id > runs.id order by id limit 1) as after
    from runs where id = any(%(ids)s))
select id, (
    select left(id::text, min(length)) from generate_series(%(shortest)s, 36) as length
    where left(id::text, length) not in (coalesce(left(before::text, length), ''), coalesce(left(after::text, length), ''))
) as short_id from listed

-- name: ids_between
select id from runs where id between %s and %s order by id limit %s

-- name: claim
update runs set driver = current_setting('application_name') where id = %s returning *

-- name: clear_wakeup
update runs set next_wakeup_at = null where id = %s and status in ('completed', 'failed')
