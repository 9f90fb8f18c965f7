-- name: inbox
-- Each part reads at most as many rows as are needed, by an index of its own; see the migration 0011.
with reviews as (
    select review ->> 'gate' as kind, id as run_id, updated_at as since, id::text as subject, null as provider,
        null as code, null as message, (review #>> '{content,estimated_usd}')::numeric as usd
    from runs where review is not null and not %(only_troubles)s order by updated_at desc limit %(most)s
), failed as (
    select 'failed', id, updated_at, id::text, null, error ->> 'code', error ->> 'message', null::numeric
    from runs where status = 'failed' and error ->> 'code' not in ('rejected', 'cancelled') and pruned_at is null
        and updated_at > now() - interval '7 days'
        and not exists (select from orders where run_id = runs.id and state = 'unknown')
    order by updated_at desc limit %(most)s
), unknown as (
    select 'unknown', run_id, coalesce(called_at, created_at), key, provider, null, null, amount_usd
    from orders where state = 'unknown' and run_id is not null order by created_at desc limit %(most)s
), stuck as (
    select 'stuck', troubles.run_id, attention_at, subject, provider, code, message, null::numeric
    {counts} and attention_at is not null order by attention_at desc limit %(most)s
), undelivered as (
    select 'undelivered', events.run_id, deliveries.created_at, deliveries.id, split_part(url, '/', 3), deliveries.kind,
        last_response, null::numeric
    from deliveries join events on events.id = event
    where (state = 'abandoned' or (state = 'waiting' and attempts > 4)) and events.run_id is not null
        and deliveries.created_at > now() - interval '7 days'
    order by deliveries.created_at desc limit %(most)s
), page as (
    select * from reviews union all select * from failed union all select * from unknown
    union all select * from stuck union all select * from undelivered
    order by since desc, run_id, subject offset %(offset)s limit %(limit)s
)
select page.*, project, left(brief, 300) as brief, current_step,
    coalesce((error ->> 'retryable')::boolean, false) as is_retryable, exists (select from orders
        where orders.run_id = page.run_id and kind = 'clip' and state in ('failed', 'unknown')) as has_failed_clip,
    review #>> '{content,title}' as title, due_at,
    due_at <= now() as is_overdue,
    coalesce(review #>> '{content,film,digest}', artifacts #>> '{final_video,digest}') as film,
    review #>> '{content,ideas,0,image}' as image, costs.*
from page join runs on runs.id = page.run_id
    cross join lateral ({costs_of_run} page.run_id::text) as costs
    left join review_deadlines as due
        on due.run_id = page.run_id and due.gate = page.kind and due.revision = runs.revision
order by since desc, page.run_id, subject
