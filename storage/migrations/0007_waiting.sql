-- Orders and steps whose last attempts had no useful answer. The next useful answer deletes the row.
create table troubles (
    subject       text primary key,              -- an order's key, or the id of a run whose step is tried again
    run_id        uuid not null references runs (id),
    code          text not null,                 -- of the last answer, with its message
    message       text not null,
    since         timestamptz not null default now(),
    attempts      integer not null default 1,
    attention_at  timestamptz                    -- since when a person's attention is requested
);
create index troubles_of_run on troubles (run_id);

drop trigger fill_outbox on events;
create trigger fill_outbox after insert on events for each row
    when (new.run_id is not null and new.kind in (
        'review.opened', 'review.reminded', 'review.escalated', 'run.completed', 'run.failed', 'cancel.requested',
        'run.needs_attention'))
    execute function fill_outbox();
