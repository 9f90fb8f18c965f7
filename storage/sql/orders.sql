-- name: postpone
update orders set poll_count = poll_count + 1, next_poll_at = now() + %(after)s,
    progress = coalesce(%(progress)s, progress)
where key = %(key)s and settled_at is null returning run_id

-- name: mark_file_missing
update orders set missing_since = null, file_missing_since = coalesce(file_missing_since, now()) where key = %s

-- name: mark_found
update orders set missing_since = null, file_missing_since = null,
    state = case state when 'unknown' then 'submitted' else state end
where key = %s and task_id is not null and settled_at is null

-- name: bound
select task_id from orders where provider = %s and task_id = any(%s)

-- name: claim_due
-- Clips come first; concurrent workers get different orders.
update orders set next_poll_at = now() + interval '5 seconds'
where key in (
    select key from orders
    where next_poll_at <= now() and kind <> 'model' and (kind = 'render') = %(renders)s
        and (%(only)s::uuid[] is null or run_id = any(%(only)s)) and key <> all(%(without)s)
    order by kind <> 'clip', next_poll_at limit %(limit)s for update skip locked)
returning key

-- name: open_publishers
select distinct provider from orders where kind = 'publication' and settled_at is null

-- name: by_task
select * from orders where provider = %s and task_id = %s

-- name: of_run
select * from orders where run_id = %s order by created_at, key
