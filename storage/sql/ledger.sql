-- name: publisher
-- The publisher that the project of an order names now, or the one of the settings.
coalesce(%(publishers)s::jsonb ->> (select project from runs where id = orders.run_id), %(publishers)s::jsonb ->> '')

-- name: claim
-- Only the process that gets the row back submits the order. The host and account of the provider are those that are
-- configured now, which may differ from those at the time of the reservation; but a publication is approved for its
-- publisher, which its project still has to name, and a clip for the provider that has this short name. A scheduled
-- publication waits for its time. An order of a restored run may have been placed after the backup: it counts as called,
-- and is looked up, unless a person has released it.
update orders set called_at = now(), next_poll_at = now() + %(poll_in)s,
    lookup_since = case when kind <> 'render' and released_at is null
        then (select since from restored_runs where run_id = orders.run_id) end,
    provider = coalesce(%(names)s::jsonb ->> case kind when 'clip' then split_part(provider, ':', 1) else kind end,
                        provider)
where key = %(key)s and state = 'reserved' and called_at is null
  and (kind <> 'publication' or provider = {publisher})
  and (kind <> 'clip' or %(names)s::jsonb ? split_part(provider, ':', 1))
  and coalesce((request ->> 'publish_at')::timestamptz <= now(), true)
  and not exists (select from events where run_id = orders.run_id and kind = 'cancel.requested')
returning *

-- name: fail
-- Closes an order without a result, and keeps what is known of its parts. Its reserved amount is released, unless the
-- provider has charged for it.
update orders set state = 'failed', result = coalesce(result, '{}') || %(result)s::jsonb, settled_at = now(),
    next_poll_at = null, spent_usd = case when %(result)s::jsonb ? 'charged' then amount_usd else 0 end

-- name: release
-- Releases what a cancelled run reserved and never called for.
{fail}
where key = %(key)s and state = 'reserved' and called_at is null
  and exists (select from events where run_id = orders.run_id and kind = 'cancel.requested')

-- name: refuse
-- Closes an order that was never called and was approved for a provider that the settings no longer name.
{fail}
where key = %(key)s and state = 'reserved' and called_at is null
  and (kind = 'clip' and not %(names)s::jsonb ? split_part(provider, ':', 1)
       or kind = 'publication' and provider <> {publisher})

-- name: await_time
-- Makes a scheduled publication due at its time, whatever has polled it before.
update orders set next_poll_at = (request ->> 'publish_at')::timestamptz
where key = %(key)s and state = 'reserved' and called_at is null and (request ->> 'publish_at')::timestamptz > now()
  and not exists (select from events where run_id = orders.run_id and kind = 'cancel.requested')

-- name: retry_later
-- An order that was not sent can be placed again.
update orders set state = 'reserved', called_at = null, poll_count = poll_count + 1, next_poll_at = now() + %(after)s
where key = %(key)s and state in ('reserved', 'unknown') and task_id is null

-- name: place_again
-- A render, which costs nothing, is placed at another provider.
update orders set state = 'reserved', called_at = null, task_id = null, submitted_at = null,
    missing_since = null, progress = null, poll_count = 0, next_poll_at = now()
where key = %(key)s and kind = 'render' and provider <> %(provider)s
    and state in ('reserved', 'submitted', 'unknown')

-- name: bind
-- An id of the provider belongs to one order.
update orders set state = 'submitted', task_id = %(task_id)s, submitted_at = now(), poll_count = 0,
    next_poll_at = now() + %(poll_in)s
where key = %(key)s and state in ('reserved', 'unknown') and task_id is null and not exists (
    select from orders as o where o.provider = orders.provider and o.task_id = %(task_id)s)

-- name: settle
-- An order that failed and was charged can still be fulfilled.
update orders set state = 'settled', spent_usd = amount_usd, result = %(result)s, settled_at = now(),
    progress = 1, next_poll_at = null
where key = %(key)s and (state in ('submitted', 'unknown') or (state = 'failed' and result ? 'charged'))

-- name: fail_open
{fail}
where key = %(key)s and state in ('reserved', 'submitted', 'unknown')

-- name: mark_unknown
update orders set state = 'unknown', next_poll_at = now() + %(poll_in)s
where key = %(key)s and state in ('reserved', 'submitted')

-- name: stop_waiting
-- Closes an order that was not sent or costs nothing.
{fail}
where key = %(key)s and state in ('reserved', 'submitted') and (kind = 'render' or called_at is null)

-- name: declare_not_made
{fail}
where run_id = %(run_id)s and key = any(%(keys)s) and state = 'unknown' returning key

-- name: release_held
-- An order of a restored run that was not placed after the backup is placed now, under its own key.
update orders set state = 'reserved', called_at = null, lookup_since = null, released_at = now(), poll_count = 0,
    next_poll_at = now()
where run_id = %(run_id)s and key = any(%(keys)s) and state = 'unknown' and lookup_since is not null returning key

-- name: poll_now
update orders set next_poll_at = now() where key = %(key)s

-- name: claim_replay
-- An order that was bound, declared not made or marked unknown since it was read is not submitted again.
update orders set next_poll_at = now() + interval '1 minute'
where key = %(key)s and state = 'reserved' and coalesce(lookup_since, called_at) > now() - %(replayable)s and task_id is null
returning *
