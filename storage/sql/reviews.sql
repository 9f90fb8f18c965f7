-- name: record_served
-- A revision that this actor was served before is not written again.
insert into served_reviews (actor_id, run_id, gate, revision, digest)
select %s, served.* from jsonb_to_recordset(%s) as served (run_id uuid, gate text, revision integer, digest text)
on conflict do nothing

-- name: was_served
select 1 from served_reviews where actor_id = %(actor_id)s
    and run_id = %(run_id)s and gate = %(gate)s and revision = %(revision)s and digest = %(digest)s

-- name: opened
-- A run that returns to an undecided gate opens the same revision again: the newest event counts.
with opened as (
    select payload ->> 'gate' as gate, (payload ->> 'revision')::int as revision, payload ->> 'digest' as digest,
           payload -> 'content' as content, coalesce(payload -> 'requested', '[]') as requested,
           created_at as opened_at, seq, id,
           row_number() over (partition by payload ->> 'gate', payload ->> 'revision' order by seq desc) as newest
    from events where run_id = %(run_id)s and kind = 'review.opened')
select opened.gate, opened.revision, digest, content, requested, opened_at, due_at, on_due,
       exists (select from outbox where event = opened.id) as just_opened
from opened left join review_deadlines as d
    on d.run_id = %(run_id)s and d.gate = opened.gate and d.revision = opened.revision
where newest = 1 order by seq

-- name: opened_since
select runs.id as run_id, review ->> 'gate' as gate, review #>> '{content,title}' as title, opened_at
from runs cross join lateral (
    select max(created_at) as opened_at from events where run_id = runs.id and kind = 'review.opened') as opened
where runs.id = any(%s) and review is not null and opened_at > %s order by opened_at

-- name: set
insert into review_deadlines as d (run_id, gate, revision, due_at, repeat_every, on_due, next_at)
values (%s, %s, %s, %s, %s, %s, %s)
on conflict (run_id, gate, revision) do update set next_at = coalesce(d.next_at, greatest(d.due_at, now()))
returning due_at

-- name: claim_due
-- `skip locked` gives concurrent sweepers different rows. The next due time is in the future even after a long downtime.
with due as (
    select d.*, runs.review ->> 'digest' as digest, coalesce(
        runs.review ->> 'gate' = d.gate and (runs.review ->> 'revision')::int = d.revision, false) as still_open
    from review_deadlines as d join runs on runs.id = d.run_id
    where d.next_at <= now() order by d.next_at limit 50 for update of d skip locked)
update review_deadlines as d set
    times_due = d.times_due + (still_open and d.on_due <> 'reject')::int,
    next_at = case when not still_open then null when d.on_due = 'reject' then now() + %s
        else d.due_at + d.repeat_every
            * (floor(extract(epoch from now() - d.due_at) / extract(epoch from d.repeat_every)) + 1) end
from due where (d.run_id, d.gate, d.revision) = (due.run_id, due.gate, due.revision)
returning d.run_id, d.gate, d.revision, d.due_at, d.repeat_every, d.on_due, d.times_due, digest, still_open
