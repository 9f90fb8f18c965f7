-- name: lock
-- Opens the sums and locks them until the end of the transaction, always in the same order and after the run: a change
-- of an order counts in the sums at the end of its statement, which has numbered an event of the run by then.
with run as (select from runs where id = %(run_id)s for no key update)
insert into spending (scope, name, day)
select scope, name, day from (select count(*) from run) as locked cross join spending_keys(%(run_id)s, now(), true)
order by lock_order
on conflict (scope, name, day) do update set reserved_usd = spending.reserved_usd

-- name: committed
select scope, coalesce(reserved_usd + spent_usd, 0) as usd
from spending_keys(%(run_id)s, now(), true) left join spending using (scope, name, day)

-- name: differences
with kept as (
    select scope, name, day::text as day, reserved_usd, spent_usd from spending
    union all select 'costs', concat_ws(' ', day, project, provider), '', reserved_usd, spent_usd from day_sums
), counted as (
    select scope, name, day::text as day, reserved_usd, spent_usd from spending_of_orders
    union all select 'costs', concat_ws(' ', day, project, provider), '', reserved_usd, spent_usd from day_sums_of_orders
)
select scope, name, day, coalesce(kept.reserved_usd + kept.spent_usd, 0) as kept_usd,
       coalesce(counted.reserved_usd + counted.spent_usd, 0) as counted_usd
from kept full join counted using (scope, name, day)
where (coalesce(kept.reserved_usd, 0), coalesce(kept.spent_usd, 0))
      is distinct from (coalesce(counted.reserved_usd, 0), coalesce(counted.spent_usd, 0))
order by scope, name, day

-- name: sums
select coalesce(sum(reserved_usd), 0) as reserved_usd, coalesce(sum(spent_usd), 0) as spent_usd from spending

-- name: of_run
-- To be completed with the id of the run, as text.
{sums} where scope = 'run' and name =

-- name: of_today
{sums} where scope = 'day' and day = (now() at time zone 'utc')::date
