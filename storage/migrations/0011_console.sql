-- Tokens of the console: of sessions, and of sign-in links, each used once. Only their digests are stored.
create table console_tokens (
    digest      text primary key,
    kind        text not null check (kind in ('session', 'link')),
    key_id      text not null references api_keys (id),
    expires_at  timestamptz not null,
    created_at  timestamptz not null default now()
);
