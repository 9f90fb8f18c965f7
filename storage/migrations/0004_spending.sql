-- Amounts reserved and spent, summed per run, per project and day, per day, and per day of what no approval precedes.
-- Days are in UTC. A trigger on orders keeps the sums, so that no statement can forget one.
alter table orders add column unapproved boolean not null default false;  -- a model call before any approval

create table spending (
    scope         text not null check (scope in ('run', 'project', 'day', 'unapproved')),
    name          text not null,                  -- run id or project; empty for the other scopes
    day           date not null,                  -- '-infinity' for a run, whose cap is for all days
    reserved_usd  numeric(14, 4) not null default 0,
    spent_usd     numeric(14, 4) not null default 0,
    primary key (scope, name, day)
) with (fillfactor = 50);

-- The sums that an order of this run and day counts in, in the order in which they are locked.
create function spending_keys(run uuid, at timestamptz, unapproved boolean)
returns table (lock_order integer, scope text, name text, day date) language sql stable as $$
    with found as (select id::text as run_id, project from runs where id = run),
    utc as (select (at at time zone 'utc')::date as today)
    select 1, 'run', run_id, '-infinity'::date from found
    union all select 2, 'project', project, today from found, utc
    union all select 3, 'day', '', today from utc
    union all select 4, 'unapproved', '', today from utc where unapproved
$$;

create function reserved_usd_of(one orders) returns numeric language sql immutable as $$
    select case when one.state in ('reserved', 'submitted', 'unknown') then one.amount_usd else 0 end
$$;

create function add_spending(one orders, reserved numeric, spent numeric) returns void language plpgsql as $$
begin
    if reserved <> 0 or spent <> 0 then
        insert into spending (scope, name, day, reserved_usd, spent_usd)
        select scope, name, day, reserved, spent
        from spending_keys(one.run_id, one.created_at, one.unapproved) order by lock_order
        on conflict (scope, name, day) do update set
            reserved_usd = spending.reserved_usd + excluded.reserved_usd,
            spent_usd = spending.spent_usd + excluded.spent_usd;
    end if;
end
$$;

create function count_spending() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and (new.run_id, new.created_at, new.unapproved)
            is not distinct from (old.run_id, old.created_at, old.unapproved) then
        perform add_spending(new, reserved_usd_of(new) - reserved_usd_of(old),
                             coalesce(new.spent_usd, 0) - coalesce(old.spent_usd, 0));
        return null;
    end if;
    if tg_op <> 'INSERT' then
        perform add_spending(old, - reserved_usd_of(old), - coalesce(old.spent_usd, 0));
    end if;
    if tg_op <> 'DELETE' then
        perform add_spending(new, reserved_usd_of(new), coalesce(new.spent_usd, 0));
    end if;
    return null;
end
$$;

create trigger count_spending after insert or update or delete on orders for each row execute function count_spending();

-- The same sums from the orders themselves: for the orders that are there already, and for `audit verify`.
create view spending_of_orders as
    select scope, name, day, sum(reserved_usd_of(orders)) as reserved_usd, sum(coalesce(spent_usd, 0)) as spent_usd
    from orders cross join lateral spending_keys(run_id, created_at, unapproved)
    group by scope, name, day;

insert into spending (scope, name, day, reserved_usd, spent_usd)
select scope, name, day, reserved_usd, spent_usd from spending_of_orders;
