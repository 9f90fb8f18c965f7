-- The runs of a restored database that had not been completed in the backup, and the time of the backup. Since then
-- orders may have been placed under their keys of which this database knows nothing. `restore` writes the rows, in the
-- transaction of the data; in a database of an earlier version it creates the table.
create table if not exists restored_runs (
    run_id  uuid primary key references runs (id),
    since   timestamptz not null
);

alter table orders
    -- Of an order that was looked up instead of being called: since when it may have been placed without a record.
    add column lookup_since  timestamptz,
    -- When a person declared such an order as not made. It is placed then, under its own key.
    add column released_at   timestamptz;
