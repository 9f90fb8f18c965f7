-- Costs and seconds of video, summed per day (UTC), project and provider, so that the page of costs does not read every
-- order. A trigger on orders keeps the sums.
create table day_sums (
    day                date not null,
    project            text not null,             -- empty for the chat
    provider           text not null,
    reserved_usd       numeric(14, 4) not null default 0,
    spent_usd          numeric(14, 4) not null default 0,
    seconds_bought     numeric(14, 3) not null default 0,   -- of clips that were generated or charged
    seconds_published  numeric(14, 3) not null default 0,   -- of films, once each
    primary key (day, project, provider)
) with (fillfactor = 50);

create function is_posted(one orders) returns boolean language sql immutable as $$
    select one.kind = 'publication' and (one.state = 'settled' or coalesce(one.result -> 'platforms' <> '{}', false))
$$;

-- What an order counts for. A film counts with the first of its orders that posted it.
create function day_sums_of(one orders) returns setof day_sums language sql stable as $$
    select (one.created_at at time zone 'utc')::date, coalesce(project, ''), one.provider,
        reserved_usd_of(one), coalesce(one.spent_usd, 0),
        case when one.kind = 'clip' and (one.state = 'settled' or coalesce(one.result ? 'charged', false))
            then coalesce((one.request ->> 'seconds')::numeric, 0) else 0 end,
        case when is_posted(one) and not exists (select from orders as other
                where other.run_id = one.run_id and other.kind = 'publication' and other.key <> one.key
                    and is_posted(other))
            then coalesce((artifacts #>> '{final_video,seconds}')::numeric, 0) else 0 end
    from (select one.run_id as id) as of_order left join runs using (id)
$$;

create function sum_days() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and (new.state, new.amount_usd, new.spent_usd, new.provider, new.result, new.created_at)
            is not distinct from (old.state, old.amount_usd, old.spent_usd, old.provider, old.result, old.created_at) then
        return null;
    end if;
    insert into day_sums
    select day, project, provider, sum(sign * reserved_usd), sum(sign * spent_usd), sum(sign * seconds_bought),
        sum(sign * seconds_published)
    from (
        select 1 as sign, * from day_sums_of(new) where tg_op <> 'DELETE'
        union all select -1, * from day_sums_of(old) where tg_op <> 'INSERT'
    ) as change
    group by day, project, provider
    having (sum(sign * reserved_usd), sum(sign * spent_usd), sum(sign * seconds_bought), sum(sign * seconds_published))
        is distinct from (0, 0, 0, 0)
    order by day, project, provider
    on conflict (day, project, provider) do update set
        reserved_usd = day_sums.reserved_usd + excluded.reserved_usd,
        spent_usd = day_sums.spent_usd + excluded.spent_usd,
        seconds_bought = day_sums.seconds_bought + excluded.seconds_bought,
        seconds_published = day_sums.seconds_published + excluded.seconds_published;
    return null;
end
$$;

-- Its name makes it fire after count_spending, which locks the row of the day first.
create trigger sum_days after insert or update or delete on orders for each row execute function sum_days();

-- The same sums from the orders themselves: for the orders that are there already, and for `audit verify`.
create view day_sums_of_orders as
    select day, project, sums.provider, sum(reserved_usd) as reserved_usd, sum(sums.spent_usd) as spent_usd,
        sum(seconds_bought) as seconds_bought, sum(seconds_published) as seconds_published
    from orders cross join lateral day_sums_of(orders) as sums
    group by day, project, sums.provider;

insert into day_sums select * from day_sums_of_orders;
