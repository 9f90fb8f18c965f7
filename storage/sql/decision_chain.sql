-- name: unapproved
-- Orders that need a decision, were not refused by the ledger, and have none that approves such an order of their run.
select orders.key, orders.decision, decisions.number is null as is_missing
from orders left join decisions on decisions.number = orders.decision
where orders.kind in ('clip', 'speech', 'publication') and (orders.state <> 'failed' or orders.called_at is not null)
  and (decisions.run_id is distinct from orders.run_id or (orders.kind, gate, verdict) not in (
      ('clip', 'ideation', 'approve'), ('speech', 'ideation', 'approve'), ('clip', 'publish', 'revise'),
      ('publication', 'publish', 'approve')))
order by orders.created_at, orders.key

-- name: recorded
-- What the events of all runs say about decisions.
select (payload ->> 'number')::bigint as number, payload ->> 'hash' as hash from events
where kind = 'decision.recorded' order by number
