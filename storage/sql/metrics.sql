-- name: gauges
-- Each part reads an index, and few rows of it, but for the runs by status: their index alone.
select 'myloware_runs' as name, jsonb_build_object('status', status) as labels, count(*)::float8 as value
from runs group by status
union all
select 'myloware_oldest_wakeup_seconds', '{"queue": "runs"}',
    coalesce(extract(epoch from now() - min(next_wakeup_at)), 0) from runs where next_wakeup_at <= now()
union all
select 'myloware_oldest_wakeup_seconds', '{"queue": "orders"}',
    coalesce(extract(epoch from now() - min(next_poll_at)), 0) from orders where next_poll_at <= now()
union all
select 'myloware_gates_waiting', jsonb_build_object('gate', gate, 'age', age), count(*)
from (
    select split_part(status, '_', 2) as gate, case
        when updated_at > now() - interval '1 hour' then 'hour' when updated_at > now() - interval '1 day' then 'day'
        when updated_at > now() - interval '7 days' then 'week' else 'longer' end as age
    from runs where review is not null) as open
group by gate, age
union all
select 'myloware_overdue_reviews', '{}', count(*) from review_deadlines where next_at is not null and due_at <= now()
union all
select 'myloware_open_orders', jsonb_build_object('kind', kind, 'provider', provider, 'state', state), count(*)
from orders where next_poll_at is not null group by kind, provider, state
union all
select 'myloware_troubles', jsonb_build_object('code', code, 'attention', (attention_at is not null)::text), count(*)
{counts} group by code, attention_at is not null
union all
select 'myloware_undelivered_notifications', '{}', count(*) from deliveries
where (state = 'abandoned' or (state = 'waiting' and attempts > 4)) and created_at > now() - interval '7 days'
union all
select unnest(array['myloware_spent_usd', 'myloware_reserved_usd']), '{}',
    unnest(array[coalesce(sum(spent_usd), 0), coalesce(sum(reserved_usd), 0)])::float8
from spending where scope = 'day' and day = (now() at time zone 'utc')::date
