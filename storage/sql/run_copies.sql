-- name: rows
-- Everything of a run, from one snapshot, in the order in which it is inserted elsewhere. What belongs to a worker is left
-- out. An order that is open has no provider there to poll: its copy failed without a charge.
with copied as (
    select 'runs' as name, 0 as place,
        to_jsonb(t) || jsonb_build_object('driver', null, 'next_wakeup_at', null, 'forked_from', null) as row
    from runs as t where id = %(run_id)s
    union all select 'decisions', number, to_jsonb(t) from decisions as t where run_id = %(run_id)s
    union all select 'events', seq, to_jsonb(t) - 'id' from events as t where run_id = %(run_id)s
    union all select 'orders', 0, to_jsonb(t) || jsonb_build_object('next_poll_at', null) || case
        when state in ('settled', 'failed') then jsonb_build_object() else jsonb_build_object('state', 'failed', 'spent_usd', null,
            'settled_at', coalesce(called_at, created_at), 'result', %(open_result)s::jsonb) end
    from orders as t where run_id = %(run_id)s
    union all select 'unsigned_approvals', decision, to_jsonb(t) from unsigned_approvals as t
    where decision in (select number from decisions where run_id = %(run_id)s)
), threads as (
    select 'checkpoints', 0, to_jsonb(t) from checkpoints as t where thread_id = %(run_id)s::text
    union all select 'checkpoint_blobs', 0, to_jsonb(t) from checkpoint_blobs as t where thread_id = %(run_id)s::text
    union all select 'checkpoint_writes', 0, to_jsonb(t) from checkpoint_writes as t where thread_id = %(run_id)s::text
), files as (
    select 'artifacts', 0, to_jsonb(t) from artifacts as t
    where digest in (select (regexp_matches(row::text, '\m[0-9a-f]{64}\M', 'g'))[1] from copied)
)
select name, row from (
    select * from copied union all select * from threads union all select * from files) as everything
order by place

-- name: insert
-- With the name of a table and its columns.
insert into {table} ({columns}) select {columns} from jsonb_populate_recordset(null::{table}, %s)

-- name: let_threads_be_written
-- No worker drives the runs in Studio's database: Studio's server writes all threads.
do $$ begin
    alter table checkpoints disable trigger check_driver;
    alter table checkpoint_blobs disable trigger check_driver;
    alter table checkpoint_writes disable trigger check_driver;
end $$
