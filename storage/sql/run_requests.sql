-- name: cancel
-- The request itself ends the run; the process that drives it at that moment orders nothing more (see the ledger).
update runs set status = 'failed', review = null, current_step = null, updated_at = now(), next_wakeup_at = now(),
    error = '{"code": "cancelled", "message": "The run was cancelled.", "retryable": false}'
where id = %(id)s and status not in ('completed', 'failed')
returning id

-- name: retry
update runs set status = 'running', error = null, attempts = 0, updated_at = now(),
    next_wakeup_at = now() + %(wake_in)s
where id = %(id)s and status = 'failed' and (error ->> 'retryable')::boolean
returning id

-- name: release_orders
-- A poll releases what a cancelled run never called for.
update orders set next_poll_at = now() where run_id = %s and state = 'reserved' and called_at is null

-- name: poll_orders
update orders set next_poll_at = now() where key = any(%s) and settled_at is null
