-- name: lock
-- Held while the row of a file is written, and while a file is deleted.
select pg_advisory_xact_lock(hashtextextended('file:' || %(digest)s, 0))

-- name: insert
-- The first row of a file stays. A file that is being deleted is gone before the row is there.
with locked as ({lock})
insert into artifacts (digest, kind, media_type, size_bytes, facts)
select %(digest)s, %(kind)s, %(media_type)s, %(size_bytes)s, %(facts)s from locked
on conflict (digest) do update set stored_at = now()

-- name: has_row
select 1 from artifacts where digest = %s

-- name: forget
delete from released_files where digest = %s

-- name: released
select digest from released_files order by digest limit %s
