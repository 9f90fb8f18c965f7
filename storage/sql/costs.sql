-- name: posted
kind = 'publication' and (state = 'settled' or result -> 'platforms' <> '{}')

-- name: costs
-- By `grouping`, whose bits are 1 for the columns day, project, provider that a row is not grouped by.
with counted as (
    select (orders.created_at at time zone 'utc')::date as day, project, provider,
        coalesce(spent_usd, 0) as spent_usd, reserved_usd_of(orders) as reserved_usd,
        case when kind = 'clip' and (state = 'settled' or result ? 'charged')
            then (request ->> 'seconds')::numeric end as seconds_bought,
        case when {posted} and not exists (select from orders as earlier
                where run_id = runs.id and created_at < orders.created_at and {posted})
            then (artifacts #>> '{final_video,seconds}')::numeric end as seconds_published
    from orders left join runs on runs.id = run_id
    where orders.created_at >= %(first)s::date::timestamp at time zone 'utc'
        and orders.created_at < (%(last)s::date + 1)::timestamp at time zone 'utc'
        and (%(project)s::text is null or project = %(project)s)
), summed as (
    select day, project, provider, sum(spent_usd) as spent_usd, sum(reserved_usd) as reserved_usd,
        sum(seconds_bought) as seconds_bought, sum(seconds_published) as seconds_published
    from counted group by day, project, provider
)
select grouping(day, project, provider) as level, day, project, provider,
    round(coalesce(sum(spent_usd), 0), 4)::float8 as spent_usd,
    round(coalesce(sum(reserved_usd), 0), 4)::float8 as reserved_usd,
    coalesce(sum(seconds_bought), 0)::float8 as seconds_bought,
    coalesce(sum(seconds_published), 0)::float8 as seconds_published
from summed
group by grouping sets ((day), (day, provider), (project), (provider), ())
order by day, sum(spent_usd + reserved_usd) desc, project, provider

-- name: today
select scope, name, reserved_usd + spent_usd as usd from spending where day = (now() at time zone 'utc')::date
