-- name: add
-- Expired tokens are deleted whenever one is added.
with expired as (delete from console_tokens where expires_at <= now())
insert into console_tokens (digest, kind, key_id, expires_at) values (%s, %s, %s, now() + %s)

-- name: find
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
