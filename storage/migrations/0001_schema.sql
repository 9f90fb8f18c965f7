-- The tables of MyloWare. LangGraph's tables are the truth about where a run is; these tables are the truth
-- about what happened, what was decided and what was paid. Amounts are in USD, digests are lower-case sha256 hex.

create table api_keys (
    id           text primary key,                -- public id, for example 'key_3f9a…'
    name         text not null,
    digest       text not null unique,            -- sha256 of the key; the key itself is never stored
    origin       text not null check (origin in ('settings', 'generated')),
    can_approve  boolean not null default true,
    created_at   timestamptz not null default now()
);

create table runs (
    id              uuid primary key,             -- also the LangGraph thread_id
    project         text not null,
    brief           text not null,
    options         jsonb not null default '{}',
    metadata        jsonb not null default '{}',
    cap_usd         numeric(12, 4) not null check (cap_usd >= 0),
    actor_kind      text not null,                -- the actor that started the run
    actor_id        text not null,
    actor_name      text not null,
    channel         text not null,
    -- A projection of the thread, written by advance; a decision closes the gate here too.
    status          text not null default 'pending' check (status in (
                        'pending', 'running', 'awaiting_ideation_approval', 'awaiting_video_generation',
                        'awaiting_render', 'awaiting_publish_approval', 'completed', 'failed')),
    current_step    text,
    revision        integer not null default 0,   -- of the review that is open, or was open last
    review          jsonb,                        -- the open review {gate, revision, digest, content}, or null
    artifacts       jsonb not null default '{}',
    error           jsonb,                        -- {code, message, retryable}
    driver          text,                         -- application_name of the process that may write the thread
    forked_from     uuid references runs (id),
    seed            jsonb not null default '{}',  -- initial state channels of a forked run
    attempts        integer not null default 0,   -- consecutive attempts that met an unavailable provider
    next_wakeup_at  timestamptz,                  -- when the sweeper wakes the run
    last_seq        bigint not null default 0,    -- seq of the newest event
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now()
);
create index runs_newest on runs (created_at desc, id desc);
create index runs_due on runs (next_wakeup_at) where next_wakeup_at is not null;

-- Append-only. seq is drawn from the run's own row, so it grows in commit order inside a run (with gaps).
create table events (
    id           bigint generated always as identity primary key,
    source       text not null,                   -- api, cli, sora, remotion, ledger, advance, …
    dedup_key  text not null,                   -- the source's id of the event: a repeated event is one row
    run_id       uuid references runs (id),
    seq          bigint,
    kind         text not null,                   -- run.started, decision.recorded, webhook.received, …
    subject      text,                            -- a provider's task id or an order's key
    payload      jsonb not null default '{}',
    created_at   timestamptz not null default now(),
    unique (source, dedup_key),
    unique (run_id, seq)
);
create index events_subject on events (source, subject) where subject is not null;

-- Append-only, one decision per review, each row chained to the one before it by its hash.
create table decisions (
    number           bigint primary key,
    run_id           uuid not null references runs (id),
    gate             text not null check (gate in ('ideation', 'publish')),
    revision         integer not null,
    verdict          text not null check (verdict in ('approve', 'revise', 'reject')),
    seen_digest      text not null,               -- of the content the reviewer saw
    approved_digest  text,                        -- of the content that may be ordered or published
    comment          text,
    edits            jsonb,
    clips            jsonb,                       -- clips to generate again: [{clip, comment}]
    takes            jsonb,                       -- by clip number, the take to use
    actor_kind       text not null,
    actor_id         text not null,
    actor_name       text not null,
    channel          text not null check (channel in (
                         'api', 'cli', 'console', 'chat', 'mcp', 'studio', 'link', 'deadline')),
    idempotency_key  text,
    decided_at       timestamptz not null,
    previous_hash    text not null,
    hash             text not null unique,
    unique (run_id, gate, revision)
);
-- A request that is sent again is the same decision, whatever the gate shows by then.
create unique index decisions_by_idempotency_key on decisions (run_id, actor_id, idempotency_key)
    where idempotency_key is not null;

-- The ledger: every call that costs money is a row here before it is made.
create table orders (
    key            text primary key,              -- OrderKey: 'run:kind:number:attempt'
    run_id         uuid references runs (id),     -- null for a model call of the chat
    kind           text not null check (kind in ('model', 'clip', 'render', 'publication')),
    clip           integer,                       -- clip number and take, for orders of clips
    take           integer,
    provider       text not null,
    request        jsonb not null,                -- frozen: exactly what is sent
    amount_usd     numeric(12, 4) not null check (amount_usd >= 0),
    spent_usd      numeric(12, 4),
    state          text not null default 'reserved' check (state in (
                       'reserved', 'submitted', 'settled', 'failed', 'unknown')),
    decision       bigint references decisions (number),
    called_at      timestamptz,                   -- set just before the one call that spends
    task_id        text,                          -- the provider's id of the order
    submitted_at   timestamptz,
    settled_at     timestamptz,
    result         jsonb,                         -- settled: digests and facts; failed: {code, message}
    progress       real,                          -- 0..1
    missing_since  timestamptz,                   -- since when the provider has not known the task
    poll_count     integer not null default 0,
    next_poll_at   timestamptz,
    created_at     timestamptz not null default now(),
    unique (provider, task_id),
    check ((kind = 'clip') = (clip is not null and take is not null))
);
create index orders_of_run on orders (run_id, kind);
create index orders_due on orders (next_poll_at) where next_poll_at is not null;
create index orders_by_day on orders (created_at);

-- Stored files, named by their digest.
create table artifacts (
    digest      text primary key check (digest ~ '^[0-9a-f]{64}$'),
    kind        text not null,                    -- clip, clip_original, final_video
    media_type  text not null,
    size_bytes  bigint not null,
    facts       jsonb not null default '{}',
    created_at  timestamptz not null default now()
);

-- When an open review is due, and what happens then. A closed review keeps its row, without next_at.
create table review_deadlines (
    run_id        uuid not null references runs (id),
    gate          text not null check (gate in ('ideation', 'publish')),
    revision      integer not null,
    due_at        timestamptz not null,
    repeat_every  interval not null,
    on_due        text not null check (on_due in ('remind', 'escalate', 'reject')),
    times_due     integer not null default 0,
    next_at       timestamptz,
    primary key (run_id, gate, revision)
);
create index review_deadlines_next on review_deadlines (next_at) where next_at is not null;

-- Events to be turned into notifications. Filled by a trigger, because events are written in many places, each in a
-- transaction of its own: exactly the committed ones are announced.
create table outbox (
    event  bigint primary key references events (id)
);

create function fill_outbox() returns trigger language plpgsql as $$
begin
    insert into outbox (event) values (new.id);
    return new;
end
$$;

create trigger fill_outbox after insert on events for each row
    when (new.run_id is not null and new.kind in (
        'review.opened', 'review.reminded', 'review.escalated', 'run.completed', 'run.failed', 'cancel.requested'))
    execute function fill_outbox();

-- Notifications to be sent: one per event and URL, the body fixed when it is written.
create table deliveries (
    id               text primary key,            -- the webhook-id, the same for every attempt
    event            bigint not null references events (id),
    url              text not null,
    kind             text not null,               -- run.awaiting_approval, run.completed, run.failed
    body             text not null,
    state            text not null default 'waiting' check (state in ('waiting', 'delivered', 'abandoned')),
    attempts         integer not null default 0,
    next_attempt_at  timestamptz default now(),
    last_response    text,
    created_at       timestamptz not null default now(),
    delivered_at     timestamptz,
    unique (event, url)
);
create index deliveries_due on deliveries (next_attempt_at) where next_attempt_at is not null;

-- URLs that answered 410 Gone: nothing is sent to them until the service restarts.
create table disabled_endpoints (
    url          text primary key,
    disabled_at  timestamptz not null default now()
);

-- Signing secrets, generated once by the process that needs them first.
create table secrets (
    name        text primary key,
    value       bytea not null,
    created_at  timestamptz not null default now()
);

create table chat_sessions (
    id          text primary key,
    actor_id    text not null,
    created_at  timestamptz not null default now()
);

-- A decision prepared in a chat or by an agent. It takes effect only when the person confirms its code.
create table pending_confirmations (
    actor_id    text not null,
    session_id  text not null,                    -- chat session; empty for MCP
    code        text not null,
    channel     text not null check (channel in ('chat', 'mcp')),
    run_id      uuid not null references runs (id),
    gate        text not null check (gate in ('ideation', 'publish')),
    revision    integer not null,
    digest      text not null,                    -- of the content the review showed
    verdict     text not null check (verdict in ('approve', 'revise', 'reject')),
    comment     text,
    created_at  timestamptz not null default now(),
    expires_at  timestamptz not null,
    used_at     timestamptz,
    primary key (actor_id, session_id, code)
);
create index pending_confirmations_expired on pending_confirmations (expires_at);

-- Responses already sent to requests with an Idempotency-Key.
create table idempotency_records (
    actor_id         text not null,
    idempotency_key  text not null,
    digest           text not null,               -- of method, path and body
    status_code      integer,                     -- null while the first request is in progress
    body             jsonb,
    created_at       timestamptz not null default now(),
    primary key (actor_id, idempotency_key)
);

-- Times of the last requests of an API key or address. Unlogged: losing them in a crash does no harm.
create unlogged table rate_limit_hits (
    client  text primary key,
    hits    timestamptz[] not null
) with (fillfactor = 50);

-- Processes that may hold a run's lock. A process whose heartbeat stopped is disconnected.
create unlogged table workers (
    id       text primary key,
    beat_at  timestamptz not null default now()
);

-- Only the process that drives a run may write its thread. A process that was frozen and resumes beside its successor
-- is no longer the driver, and every checkpoint it writes is refused.
create function check_driver() returns trigger language plpgsql as $$
declare
    named text;
begin
    if new.thread_id !~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' then
        return new;
    end if;
    -- The share lock is held until the commit: the driver cannot change in between.
    select driver into named from runs where id = new.thread_id::uuid for share;
    if found and named is distinct from current_setting('application_name') then
        raise exception 'run % is driven by another process', new.thread_id using errcode = 'MW001';
    end if;
    return new;
end
$$;

create trigger check_driver before insert or update on checkpoints for each row execute function check_driver();
create trigger check_driver before insert or update on checkpoint_blobs for each row execute function check_driver();
create trigger check_driver before insert or update on checkpoint_writes for each row execute function check_driver();
