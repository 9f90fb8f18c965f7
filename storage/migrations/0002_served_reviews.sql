-- The revisions that each actor was served. A decision that names no digest counts for one of these only.
-- Without a foreign key: its check would make a read of a run wait for the lock of a decision about it.
create table served_reviews (
    actor_id   text not null,
    run_id     uuid not null,
    gate       text not null check (gate in ('ideation', 'publish')),
    revision   integer not null,
    digest     text not null,                     -- of the content that was served
    served_at  timestamptz not null default now(),
    primary key (run_id, actor_id, gate, revision, digest)
);
