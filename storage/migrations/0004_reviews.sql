-- A review may be due at a time, may be decided by a link, and the outside world may want to be told of it.

-- What is not a person at one of the doors: a due time that passed, and a link that was given to a reviewer.
alter table decisions drop constraint decisions_channel_check;
alter table decisions add constraint decisions_channel_check
    check (channel in ('api', 'cli', 'console', 'chat', 'mcp', 'studio', 'link', 'deadline'));

-- When an open review is due, and what happens then. It stays when the review is over, without a next time.
create table review_deadlines (
    run_id    uuid not null references runs (id),
    gate      text not null check (gate in ('ideation', 'publish')),
    revision  integer not null,
    due_at    timestamptz not null,
    every     interval not null,                  -- how long after the first due time the next one is
    on_due    text not null check (on_due in ('remind', 'escalate', 'reject')),
    acted     integer not null default 0,         -- how many due times have passed
    next_at   timestamptz,
    primary key (run_id, gate, revision)
);
create index review_deadlines_next on review_deadlines (next_at) where next_at is not null;

-- The events that somebody outside has to be told of. A trigger keeps them, because events are written in many
-- places, each in a transaction of its own: what was committed is told, and what was not is not.
create table untold (
    event  bigint primary key references events (id)
);

create function keep_untold() returns trigger language plpgsql as $$
begin
    insert into untold (event) values (new.id);
    return new;
end
$$;

create trigger keep_untold after insert on events for each row
    when (new.run_id is not null and new.kind in (
        'review.opened', 'review.reminded', 'review.escalated', 'run.completed', 'run.failed', 'cancel.requested'))
    execute function keep_untold();

-- The notices to be sent: one for each event and address, its words fixed when it is written.
create table deliveries (
    id            text primary key,               -- the webhook-id, the same at every try
    event         bigint not null references events (id),
    url           text not null,
    kind          text not null,                  -- run.awaiting_approval, run.completed, run.failed
    body          text not null,
    state         text not null default 'waiting' check (state in ('waiting', 'delivered', 'given_up')),
    tries         integer not null default 0,
    next_try_at   timestamptz default now(),
    last_answer   text,                           -- what came of the last try, in words
    created_at    timestamptz not null default now(),
    delivered_at  timestamptz,
    unique (event, url)
);
create index deliveries_due on deliveries (next_try_at) where next_try_at is not null;

-- The addresses that answered 410: nothing is sent there until the program starts again.
create table disabled_endpoints (
    url        text primary key,
    closed_at  timestamptz not null default now()
);

-- What signs the reviewers' links; made once, by whoever needs it first.
create table secrets (
    name        text primary key,
    value       bytea not null,
    created_at  timestamptz not null default now()
);
