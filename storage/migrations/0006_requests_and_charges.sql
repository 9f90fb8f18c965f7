-- A decision that came with an Idempotency-Key is known by it: sent again, also after a crash, it is the same one,
-- and never one about what the gate has come to show since.

alter table decisions add column request text;
create unique index decisions_by_request on decisions (run_id, decided_by, request) where request is not null;

-- Since when a provider has not known an order that it has taken; null while it knows it.
alter table orders add column missing_since timestamptz;

-- A failed order may be charged for, and counts then.
drop index orders_by_day;
create index orders_by_day on orders (created_at);
