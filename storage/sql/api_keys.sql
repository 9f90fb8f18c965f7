-- name: sync
-- The keys of earlier settings that are not given any more end. One that is given again keeps its id.
with given as (
    select distinct on (digest) digest, name, can
    from unnest(%(digests)s::text[], %(names)s::text[], %(levels)s::text[])
        with ordinality as key (digest, name, can, place)
    order by digest, place
), ended as (
    update api_keys set revoked_at = now()
    where origin = 'settings' and revoked_at is null and digest not in (select digest from given)
)
insert into api_keys (id, digest, name, can, origin)
select 'key_' || left(replace(gen_random_uuid()::text, '-', ''), 12), digest, name, can, 'settings' from given
on conflict (digest) do update
set origin = 'settings', name = excluded.name, can = excluded.can, expires_at = null, revoked_at = null

-- name: columns
id, name, can, origin, created_at, expires_at, last_used_at, revoked_at, former_id,
    revoked_at is not null or coalesce(expires_at <= now(), false) as has_ended

-- name: revoke
update api_keys set revoked_at = coalesce(revoked_at, now())
where id = %(key)s or (name = %(key)s and revoked_at is null) returning {columns}

-- name: lock
lock table api_keys in share row exclusive mode

-- name: last_admin
-- A row if the key is the last valid one that can manage keys.
select from api_keys where can = 'admin' and revoked_at is null and coalesce(expires_at > now(), true)
having count(*) = 1 and bool_or(%(key)s::text in (id, name))

-- name: with_actors
-- The names of the actors are those of the audit log.
select {columns}, (
    select payload #>> '{actor,name}' from events
    where source in ('api', 'cli', 'console') and subject = api_keys.id and kind = 'key.added'
    order by id limit 1) as added_by, (
    select payload #>> '{actor,name}' from events
    where source in ('api', 'cli', 'console') and subject = api_keys.id and kind = 'key.revoked'
    order by id limit 1) as revoked_by
from api_keys

-- name: one
{with_actors} where id = %s

-- name: list
{with_actors} order by created_at, name

-- name: get
-- The id may be that of version 0.2.
select {columns} from api_keys where %s in (id, former_id)

-- name: insert
insert into api_keys (id, digest, name, can, origin, expires_at)
select 'key_' || left(replace(gen_random_uuid()::text, '-', ''), 12), %s, %s, %s, %s, %s

-- name: add_first
{insert}
where not exists (select from api_keys) returning {columns}

-- name: add
-- The name of a valid key is taken.
{insert}
where not exists (select from api_keys where name = %s and revoked_at is null) returning {columns}

-- name: used
-- A use is written at most once a minute.
used as (
    update api_keys set last_used_at = now() where id = (
        select id from key
        where not has_ended and (last_used_at is null or last_used_at < now() - interval '1 minute')))

-- name: authenticate
with key as (select {columns} from api_keys where digest = %(digest)s), {used},
admitted as ({admit})
select key.*, exists (select from admitted) as is_admitted from (select) as request left join key on true

-- name: add_token
-- Expired tokens are deleted whenever one is added.
with expired as (delete from console_tokens where expires_at <= now())
insert into console_tokens (digest, kind, key_id, expires_at) values (%s, %s, %s, now() + %s)

-- name: session_key
-- A use of the key is written at most once a minute, as by a request with the key.
with key as (
    select {columns} from api_keys where id = (
        select key_id from console_tokens where digest = %s and kind = 'session' and expires_at > now())), {used}
select * from key where not has_ended

-- name: operator_key
-- The operator's own key before those that were added for others.
select * from (select {columns} from api_keys) as keys where not has_ended
order by can = 'start', origin = 'added', created_at, name limit 1

-- name: take_link
delete from console_tokens where digest = %s and kind = 'link' and expires_at > now() returning key_id
