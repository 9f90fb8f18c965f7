-- name: facts
-- `is_idle` is false while a process that could place orders uses the database.
select now() as backup_at, (select count(*) from runs) as runs,
    (select count(*) from runs where status <> 'completed') as unfinished,
    current_setting('server_version_num')::integer / 10000 as server_version,
    (select array_agg(name order by name) from schema_history) as migrations,
    not exists (select from workers join pg_stat_activity on application_name = workers.id) as is_idle

-- name: files
select digest from artifacts order by digest

-- name: tables
select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' limit 1

-- name: begin
-- For `psql`. A process that starts meanwhile waits for the lock before it creates its tables.
begin;
select pg_advisory_xact_lock(:lock);
do $$ begin
    if exists (select from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r') then
        raise exception 'another process has created tables in the database meanwhile';
    end if;
end $$;

-- name: hold
-- For `psql`, after the data. Of two restores the earlier backup counts. The time between backup and restore is no part
-- of a deadline.
set search_path to public;
create table if not exists restored_runs (
    run_id  uuid primary key references runs (id),
    since   timestamptz not null
);
insert into restored_runs select id, :'since'::timestamptz from runs where status <> 'completed' and not :released
on conflict do nothing;
do $$ begin
    -- What a person released after an earlier restore may have been placed since.
    execute 'update orders set released_at = null where released_at is not null';
exception when undefined_column then null;  -- an earlier version
end $$;
update review_deadlines set due_at = due_at + (now() - :'since'::timestamptz),
    next_at = next_at + (now() - :'since'::timestamptz)
where next_at is not null;
commit;
