-- The tables of the product. The thread (LangGraph's tables) is the truth about where a run is;
-- these rows are the truth about what happened, what was decided and what was paid.

create table api_keys (
    id          text primary key,                 -- the public half, e.g. 'key_3f9a…'
    name        text not null,
    digest      text not null unique,             -- sha256 of the key, hex; the key itself is never kept
    origin      text not null check (origin in ('settings', 'generated')),
    created_at  timestamptz not null default now()
);

create table runs (
    id            uuid primary key,               -- also the LangGraph thread_id
    project       text not null,
    brief         text not null,
    options       jsonb not null default '{}',
    metadata      jsonb not null default '{}',
    cap_usd       numeric(12, 4) not null check (cap_usd >= 0),
    started_by    text not null,                  -- the api key's id, or 'local'
    channel       text not null,                  -- api, cli, chat, …
    -- A projection of the thread, written by advance; the door that decides a gate closes it here too.
    status        text not null default 'pending' check (status in (
                      'pending', 'running', 'awaiting_ideation_approval', 'awaiting_video_generation',
                      'awaiting_render', 'awaiting_publish_approval', 'completed', 'failed')),
    current_step  text,
    revision      integer not null default 0,     -- of the review that is open, or was open last
    review        jsonb,                          -- what the open gate shows, or null
    artifacts     jsonb not null default '{}',
    error         jsonb,                          -- {code, message, retryable, after_retries}
    attempts      integer not null default 0,     -- tries in a row that met an unavailable provider
    next_look_at  timestamptz,                    -- when the sweeper should wake it if nobody else did
    last_seq      bigint not null default 0,      -- the newest event's number
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now()
);
create index runs_newest on runs (created_at desc, id desc);
create index runs_due on runs (next_look_at) where next_look_at is not null;

-- What happened and what we were told: append-only. Numbered inside a run in commit order (with gaps),
-- because the number is drawn from the run's own row.
create table events (
    id           bigint generated always as identity primary key,
    source       text not null,                   -- who told us: api, cli, sora, remotion, advance, …
    external_id  text not null,                   -- their id of it: the same thing told twice is one row
    run_id       uuid references runs (id),
    seq          bigint,
    kind         text not null,                   -- run.started, decision.made, webhook.received, step.began, …
    subject      text,                            -- what it is about: a provider's task id, an order's key
    payload      jsonb not null default '{}',
    created_at   timestamptz not null default now(),
    unique (source, external_id),
    unique (run_id, seq)
);
create index events_subject on events (source, subject) where subject is not null;

-- What people decided: append-only, one per review, each row chained to the one before it by its hash.
create table decisions (
    number           bigint primary key,
    run_id           uuid not null references runs (id),
    gate             text not null check (gate in ('ideation', 'publish')),
    revision         integer not null,
    verdict          text not null check (verdict in ('approve', 'revise', 'reject')),
    seen_digest      text not null,               -- of what the review showed
    approved_digest  text,                        -- of what may now be made or published
    comment          text,
    edits            jsonb,
    clips            jsonb,                       -- the clip numbers to make again
    decided_by       text not null,
    channel          text not null check (channel in ('api', 'cli', 'console', 'chat', 'mcp', 'studio')),
    decided_at       timestamptz not null,
    previous_hash    text not null,
    hash             text not null unique,
    unique (run_id, gate, revision)
);

-- The ledger: every call that costs money is a row here before it is made.
create table orders (
    key           text primary key,               -- 'run:kind:number:take', a business key
    run_id        uuid references runs (id),      -- null for a talk with the supervisor
    kind          text not null check (kind in ('model', 'clip', 'render', 'publication')),
    provider      text not null,
    request       jsonb not null,                 -- frozen: what is sent, and nothing else is
    amount_usd    numeric(12, 4) not null check (amount_usd >= 0),
    spent_usd     numeric(12, 4),
    state         text not null default 'reserved' check (state in (
                      'reserved', 'submitted', 'settled', 'failed', 'unknown')),
    approval      bigint references decisions (number),
    called_at     timestamptz,                    -- set just before the one call that spends
    task_id       text,                           -- the provider's id: the clip manifest of the reference
    submitted_at  timestamptz,
    settled_at    timestamptz,
    result        jsonb,                          -- settled: digests and facts; failed: {code, message}
    progress      real,
    looks         integer not null default 0,
    next_look_at  timestamptz,
    created_at    timestamptz not null default now(),
    unique (provider, task_id)
);
create index orders_of_run on orders (run_id, kind);
create index orders_due on orders (next_look_at) where next_look_at is not null;
create index orders_by_day on orders (created_at) where state <> 'failed';

-- The kept files, named by their digest.
create table artifacts (
    digest      text primary key check (digest ~ '^[0-9a-f]{64}$'),
    kind        text not null,                    -- clip, clip_original, final_video
    media_type  text not null,
    size_bytes  bigint not null,
    facts       jsonb not null default '{}',
    created_at  timestamptz not null default now()
);

create table chat_sessions (
    id          text primary key,                 -- also the LangGraph thread of the talk
    started_by  text not null,
    created_at  timestamptz not null default now()
);

-- Answers already given to a request with an Idempotency-Key.
create table answers (
    asked_by     text not null,
    key          text not null,
    digest       text not null,                   -- of method, path and body
    status_code  integer,                         -- null while the first request is under way
    body         jsonb,
    created_at   timestamptz not null default now(),
    primary key (asked_by, key)
);

-- The times of the last requests of a key or an address; lost in a crash without harm.
create unlogged table rate_limit_hits (
    who   text primary key,
    hits  timestamptz[] not null
) with (fillfactor = 50);

-- The processes that may hold a run: a holder whose beat has stopped is cut off.
create unlogged table workers (
    id       text primary key,
    beat_at  timestamptz not null default now()
);
