-- name: find_same
-- Repeating a request returns the same row, so a model that tries again and again does not create more of them.
select * from pending_confirmations
where actor_id = %(actor_id)s and session_id = %(session_id)s and channel = %(channel)s and run_id = %(run_id)s
  and gate is not distinct from %(gate)s and revision = %(revision)s and digest = %(digest)s and verdict = %(verdict)s
  and comment is not distinct from %(comment)s and used_at is null and withdrawn_at is null
  and expires_at > now() + interval '1 minute'
order by expires_at desc limit 1

-- name: find
select * from pending_confirmations where actor_id = %s and session_id = %s and code = %s

-- name: mark_used
update pending_confirmations set used_at = now()
where actor_id = %(actor_id)s and session_id = %(session_id)s and code = %(code)s and used_at is null

-- name: list_open
select * from pending_confirmations
where actor_id = %s and session_id = %s and used_at is null and withdrawn_at is null and expires_at > now()
order by created_at, code

-- name: withdraw
update pending_confirmations set withdrawn_at = now()
where actor_id = %s and session_id = %s and code = any(%s) and used_at is null
