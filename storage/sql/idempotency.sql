-- name: begin
-- The first insert wins; for a lost request, the first update.
insert into idempotency_records as r (actor_id, idempotency_key, digest) values (%s, %s, %s)
on conflict (actor_id, idempotency_key) do update set created_at = clock_timestamp()
    where r.status_code is null and r.digest = excluded.digest
      and r.created_at < clock_timestamp() - make_interval(secs => %s)

-- name: find
select digest, status_code, body from idempotency_records where actor_id = %s and idempotency_key = %s

-- name: renew
update idempotency_records set created_at = clock_timestamp()
where actor_id = %s and idempotency_key = %s and status_code is null

-- name: complete
update idempotency_records set status_code = %s, body = %s
where actor_id = %s and idempotency_key = %s and status_code is null

-- name: discard
delete from idempotency_records where actor_id = %s and idempotency_key = %s and status_code is null
