-- name: take
with taken as (
    delete from outbox where event in (select event from outbox order by event limit %s for update skip locked)
    returning event)
select events.id, kind, run_id, payload, events.created_at, coalesce(runs.project, '') as project,
    coalesce(left(runs.brief, 1000), '') as brief, artifacts -> 'final_video' as film
from taken join events on events.id = taken.event left join runs on runs.id = events.run_id order by events.id

-- name: announced
select dedup_key from events where source = 'announce' and dedup_key = any(%s)

-- name: announce
insert into outbox (event) select id from events where source = 'announce' and dedup_key = %s

-- name: add
-- One delivery per event and URL, however often it is added; none for a disabled endpoint.
insert into deliveries (id, event, url, kind, body) select %(id)s, %(event)s, %(url)s, %(kind)s, %(body)s
where not exists (select from disabled_endpoints where url = %(url)s)
on conflict (event, url) do nothing

-- name: claim_due
update deliveries set next_attempt_at = now() + %s, attempts = attempts + 1
where id in (select id from deliveries where next_attempt_at <= now() order by next_attempt_at limit %s
             for update skip locked)
returning *

-- name: record_attempt
-- A delivery counts, whatever was recorded since its attempt was claimed.
update deliveries set state = %(state)s, next_attempt_at = now() + %(retry_in)s::interval,
    last_response = %(response)s, delivered_at = case when %(state)s = 'delivered' then now() end
where id = %(id)s and (state = 'waiting' or %(state)s = 'delivered')

-- name: disable
with disabled as (insert into disabled_endpoints (url) values (%(url)s) on conflict do nothing)
update deliveries set state = 'abandoned', next_attempt_at = null, last_response = %(response)s
where url = %(url)s and state = 'waiting'

-- name: of_run
select d.* from deliveries as d join events on events.id = d.event where run_id = %s order by event, url
