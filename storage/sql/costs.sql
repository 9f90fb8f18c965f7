-- name: posted
kind = 'publication' and (state = 'settled' or result -> 'platforms' <> '{}')

-- name: costs
-- By `grouping`, whose bits are 1 for the columns day, project, provider that a row is not grouped by.
with counted as (
    select (created_at at time zone 'utc')::date as day, (select project from runs where id = run_id) as project,
        provider, coalesce(spent_usd, 0) as spent_usd, reserved_usd_of(orders) as reserved_usd,
        case when kind = 'clip' and (state = 'settled' or result ? 'charged')
            then (request ->> 'seconds')::numeric end as seconds_bought,
        case when {posted} and not exists (select from orders as earlier
                where run_id = orders.run_id and created_at < orders.created_at and {posted})
            then (select artifacts #>> '{final_video,seconds}' from runs where id = run_id)::numeric
            end as seconds_published
    from orders
    where created_at >= %(first)s::date::timestamp at time zone 'utc'
        and created_at < (%(last)s::date + 1)::timestamp at time zone 'utc'
)
select grouping(day, project, provider) as level, day, project, provider,
    round(coalesce(sum(spent_usd), 0), 4)::float8 as spent_usd,
    round(coalesce(sum(reserved_usd), 0), 4)::float8 as reserved_usd,
    coalesce(sum(seconds_bought), 0)::float8 as seconds_bought,
    coalesce(sum(seconds_published), 0)::float8 as seconds_published
from counted where %(project)s::text is null or project = %(project)s
group by grouping sets ((day), (day, provider), (project), (provider), ())
order by day, sum(spent_usd + reserved_usd) desc, project, provider

-- name: today
select scope, name, reserved_usd + spent_usd as usd from spending where day = (now() at time zone 'utc')::date
