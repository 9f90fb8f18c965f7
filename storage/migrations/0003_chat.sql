-- Talking: keys that may not decide, and decisions that are prepared in a talk and wait for a person's word.

alter table api_keys add column can_approve boolean not null default true;

-- A decision as it was shown, under a code. Only the person who holds the key, and only in the conversation it was
-- prepared in, can confirm it; what is decided is then one row of `decisions`, as ever.
create table pending_confirmations (
    actor_id  text not null,                  -- the api key's id
    session       text not null,                  -- of the talk; empty at the MCP door, which has none
    code          text not null,
    door          text not null check (door in ('chat', 'mcp')),
    run_id        uuid not null references runs (id),
    gate          text not null check (gate in ('ideation', 'publish')),
    revision      integer not null,
    digest        text not null,                  -- of what the review showed
    verdict       text not null check (verdict in ('approve', 'revise', 'reject')),
    comment       text,
    created_at    timestamptz not null default now(),
    expires_at    timestamptz not null,
    used_at       timestamptz,
    primary key (actor_id, session, code)
);
create index pending_confirmations_old on pending_confirmations (expires_at);
