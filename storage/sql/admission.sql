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

-- name: reserve
-- A call that was made and has no stored answer was lost in a crash: it counts as made, by its estimate.
insert into orders (key, run_id, kind, provider, request, amount_usd, called_at, unapproved)
values (%(key)s, %(run_id)s, 'model', 'model', '{}', %(usd)s, now(), %(unapproved)s)
on conflict (key) do update set called_at = now(), amount_usd = excluded.amount_usd,
    spent_usd = nullif(coalesce(orders.spent_usd, 0)
        + case when orders.called_at is null then 0 else orders.amount_usd end, 0)
where orders.state <> 'settled'

-- name: end
-- The call has no usable answer. `usd` is what it cost nevertheless.
update orders set called_at = null, amount_usd = 0, spent_usd = nullif(coalesce(spent_usd, 0) + %(usd)s, 0)
where key = %(key)s and state <> 'settled'

-- name: settle
-- The first stored answer is the one, also for a process that was frozen during the call; costs add up.
update orders set state = 'settled', spent_usd = coalesce(spent_usd, 0) + %(usd)s,
    result = coalesce(result, %(result)s), settled_at = coalesce(settled_at, now())
where key = %(key)s returning result
