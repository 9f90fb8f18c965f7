-- Tokens of the console: of sessions, and of sign-in links, each used once. Only their digests are stored.
create table console_tokens (
    digest      text primary key,
    kind        text not null check (kind in ('session', 'link')),
    key_id      text not null references api_keys (id),
    expires_at  timestamptz not null,
    created_at  timestamptz not null default now()
);

-- The inbox reads the newest of each kind, however many runs are stored.
create index runs_in_review on runs (updated_at desc) where review is not null;
create index runs_failed on runs (updated_at desc)
    where status = 'failed' and error ->> 'code' not in ('rejected', 'cancelled');
create index orders_unknown on orders (created_at desc) where state = 'unknown';
create index troubles_with_attention on troubles (attention_at desc) where attention_at is not null;
create index deliveries_undelivered on deliveries (created_at desc)
    where state = 'abandoned' or (state = 'waiting' and attempts > 4);
