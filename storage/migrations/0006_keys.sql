-- Keys with a name, a level of rights, an end and a last use. A revoked key keeps its row.
alter table api_keys
    add column can text not null default 'start' check (can in ('start', 'approve', 'admin')),
    add column expires_at timestamptz,
    add column last_used_at timestamptz,
    add column revoked_at timestamptz,
    add column former_id text unique,             -- the id of version 0.2, a part of the digest; in old decisions only
    drop constraint api_keys_origin_check,
    add constraint api_keys_origin_check check (origin in ('settings', 'generated', 'added'));
update api_keys set can = 'approve' where can_approve;
alter table api_keys drop column can_approve, alter column can drop default;

-- Ids become random. Old decisions keep the former id, because it is part of their hashes.
update api_keys set former_id = id, id = 'key_' || left(replace(gen_random_uuid()::text, '-', ''), 12);
update runs as t set actor_id = k.id from api_keys as k where t.actor_id = k.former_id;
update chat_sessions as t set actor_id = k.id from api_keys as k where t.actor_id = k.former_id;
update pending_confirmations as t set actor_id = k.id from api_keys as k where t.actor_id = k.former_id;
update idempotency_records as t set actor_id = k.id from api_keys as k where t.actor_id = k.former_id;
update served_reviews as t set actor_id = k.id from api_keys as k where t.actor_id = k.former_id;
update events as t set payload = jsonb_set(payload, '{actor,id}', to_jsonb(k.id)),
    dedup_key = replace(dedup_key, k.former_id, k.id)
    from api_keys as k where payload #>> '{actor,id}' = k.former_id;

-- The user of a chat client with several users, as the client claims it.
alter table runs add column claimed_user jsonb;
alter table decisions add column claimed_user jsonb;
