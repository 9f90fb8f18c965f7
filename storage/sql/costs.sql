-- name: costs
-- By `grouping`, whose bits are 1 for the columns day, project, provider that a row is not grouped by.
with kept as (
    select day, nullif(project, '') as project, provider, spent_usd, reserved_usd, seconds_bought, seconds_published
    from day_sums
    where day between %(first)s and %(last)s and (%(project)s::text is null or project = %(project)s)
        and (spent_usd, reserved_usd, seconds_bought, seconds_published) <> (0, 0, 0, 0)
)
select grouping(day, project, provider) as level, day, project, provider,
    round(coalesce(sum(spent_usd), 0), 4)::float8 as spent_usd,
    round(coalesce(sum(reserved_usd), 0), 4)::float8 as reserved_usd,
    coalesce(sum(seconds_bought), 0)::float8 as seconds_bought,
    coalesce(sum(seconds_published), 0)::float8 as seconds_published
from kept
group by grouping sets ((day), (day, provider), (project), (provider), ())
order by day, sum(spent_usd + reserved_usd) desc, project, provider

-- name: today
select scope, name, reserved_usd + spent_usd as usd from spending where day = (now() at time zone 'utc')::date
