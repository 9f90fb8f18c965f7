-- name: state
select not current_setting('transaction_read_only')::boolean as is_writable,
    %(schema)s::text[] <@ array(select name from schema_history) as is_current,
    exists (
        select from pg_locks where locktype = 'advisory' and objid = %(worker_lock)s and classid = 0 and objsubid = 1
            and database = (select oid from pg_database where datname = current_database())) as has_worker
