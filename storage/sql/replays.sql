-- name: claim
-- An order that was bound, declared not made or marked unknown since it was read is not submitted again.
update orders set next_poll_at = now() + interval '1 minute'
where key = %(key)s and state = 'reserved' and called_at > now() - %(replayable)s and task_id is null
returning *
