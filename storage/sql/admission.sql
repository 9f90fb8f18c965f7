-- name: approved
-- An approval is valid for the approved content only, or for a clip that the decision lists to generate again. No
-- comment approves anything.
select 1 from decisions
where number = %(decision)s and run_id = %(run_id)s and (
    (verdict = 'approve' and approved_digest = %(digest)s)
    or (verdict = 'revise' and approved_digest = %(digest)s and %(clip)s::int is not null
        and clips @> jsonb_build_array(jsonb_build_object('clip', %(clip)s::int))))

-- name: still_approved
-- An order was admitted under its decision with the digest of its content, and both are immutable.
select 1 from orders join decisions on decisions.number = orders.decision and decisions.run_id = orders.run_id
where orders.key = %(key)s and decisions.verdict <> 'reject'

-- name: cancelled
select 1 from events where run_id = %s and kind = 'cancel.requested' limit 1

-- name: has_approval
select 1 from decisions where run_id = %s and verdict = 'approve' limit 1
