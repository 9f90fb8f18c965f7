-- name: take
with taken as (
    delete from outbox where event in (select event from outbox order by event limit %s for update skip locked)
    returning event)
select events.id, kind, run_id, payload, events.created_at, coalesce(runs.project, '') as project,
    coalesce(left(runs.brief, 1000), '') as brief, artifacts -> 'final_video' as film
from taken join events on events.id = taken.event left join runs on runs.id = events.run_id order by events.id

-- name: announce
-- The day's cap and those of runs that go on, with the share that is reserved and spent, and models with their last day.
-- Each is announced once; only then a number of its run is drawn.
with used as (
    select null::uuid as run_id, day::text as key, 'the day''s cap (UTC)' as cap, reserved_usd + spent_usd as usd,
        %(day_usd)s::numeric as cap_usd
    from spending where scope = 'day' and day = (now() at time zone 'utc')::date
    union all
    select id, id::text, 'the run''s cap', reserved_usd + spent_usd, cap_usd
    from runs join spending on scope = 'run' and name = id::text and day = '-infinity'
    where status in ('pending', 'running', 'awaiting_ideation_approval', 'awaiting_video_generation', 'awaiting_render',
        'awaiting_publish_approval')
), due as (
    select run_id, 'budget:' || key as key, 'budget.nearly_used' as kind, jsonb_build_object(
        'cap', cap, 'usd', round(usd, 2)::text, 'cap_usd', round(cap_usd, 2)::text) as payload
    from used where cap_usd > 0 and usd >= %(share)s * cap_usd
    union all
    select null, concat_ws(':', 'model', model ->> 'provider', model ->> 'model', model ->> 'shutdown'),
        'model.retiring', model
    from jsonb_array_elements(%(models)s::jsonb) as model
), new as (
    select * from due where not exists (select from events where source = 'announce' and dedup_key = key)
), numbered as (
    update runs set last_seq = last_seq + 1 where id in (select run_id from new) returning id, last_seq
), recorded as (
    insert into events (run_id, seq, source, dedup_key, kind, payload)
    select run_id, last_seq, 'announce', key, kind, payload from new left join numbered on id = run_id
    on conflict (source, dedup_key) do nothing returning id
)
insert into outbox (event) select id from recorded

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
