-- Narrations are ordered too.
alter table orders drop constraint orders_kind_check;
alter table orders add constraint orders_kind_check
    check (kind in ('model', 'clip', 'render', 'publication', 'speech'));
