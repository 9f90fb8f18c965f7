-- name: prunable
-- A run that has ended for good: no order of it is open, no notification waits to be sent, and no run that goes on was
-- forked from it and reads its orders. Without a worker, events stay in the outbox.
pruned_at is null and status in ('completed', 'failed')
    and not exists (select from orders where run_id = runs.id and kind <> 'model' and state not in ('settled', 'failed'))
    and not exists (select from outbox join events on events.id = event where events.run_id = runs.id
        and created_at > now() - interval '1 hour')
    and not exists (select from deliveries join events on events.id = event
        where events.run_id = runs.id and deliveries.state = 'waiting')
    and not exists (select from runs as fork
        where fork.forked_from = runs.id and fork.pruned_at is null and can_continue(fork))

-- name: due
select id from runs where {prunable} and updated_at < now() - %(keep)s order by updated_at

-- name: lock
select id from runs where id = %s and {prunable} for update

-- name: strip_orders
-- Before the film is taken from the run: the trigger compares the published seconds of before and after.
update orders set
    request = (select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(request)
        where key in ('seconds', 'size', 'model', 'sound', 'platforms', 'publish_at')),
    result = (select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(result)
            where key in ('code', 'charged', 'charged_usd', 'digest', 'original_digest', 'subtitles_digest', 'seconds',
                'platforms'))
        || case when kind <> 'publication' then '{}'
            else jsonb_strip_nulls(jsonb_build_object('film_seconds', runs.artifacts #> '{final_video,seconds}')) end
from runs where runs.id = run_id and run_id = %s and result is not null

-- name: strip_requests
update orders set request = '{}' where run_id = %s and result is null

-- name: strip_run
-- No process is its driver any more: none can write its thread again.
with tombstone as (
    update runs set pruned_at = %(at)s,
        brief = to_char(%(at)s::timestamptz at time zone 'utc', '"Pruned on" YYYY-MM-DD'),
        metadata = '{}', seed = '{}', claimed_user = null, review = null, current_step = null,
        driver = null, next_wakeup_at = null,
        artifacts = case when artifacts #> '{publication,platforms}' is null then '{}' else jsonb_build_object(
            'publication', jsonb_build_object('platforms', artifacts #> '{publication,platforms}')) end,
        error = case when error is not null then jsonb_build_object('code', error -> 'code',
            'message', 'The run failed; its details were pruned.', 'retryable', false) end
    where id = %(id)s
), webhooks as (
    update events set payload = '{}' where run_id = %(id)s and kind = 'webhook.received'
), unsent as (
    delete from outbox using events where events.id = event and run_id = %(id)s
), notifications as (
    delete from deliveries using events where events.id = event and run_id = %(id)s
), others as (
    delete from events where run_id = %(id)s and kind <> 'webhook.received'
), served as (
    delete from served_reviews where run_id = %(id)s
), deadlines as (
    delete from review_deadlines where run_id = %(id)s
), confirmations as (
    delete from pending_confirmations where run_id = %(id)s
), trouble as (
    delete from troubles where run_id = %(id)s
), writes as (
    delete from checkpoint_writes where thread_id = %(id)s::text
), blobs as (
    delete from checkpoint_blobs where thread_id = %(id)s::text
), steps as (
    delete from checkpoints where thread_id = %(id)s::text
), responses as (
    update idempotency_records set status_code = 410, body = %(gone)s
    where body ->> 'run_id' = %(id)s::text and body ? 'brief'
), uses as (
    delete from artifact_uses where run_id = %(id)s returning digest
)
select digest from uses

-- name: strip_responses
update idempotency_records set status_code = 410, body = %(gone)s
where created_at < now() - %(keep)s and status_code = 200 and body ?| array['brief', 'response']

-- name: idle_threads
select thread_id from checkpoints where thread_id = any(%(threads)s)
group by thread_id having max((checkpoint ->> 'ts')::timestamptz) < now() - %(keep)s

-- name: delete_thread
-- Unless it was used meanwhile.
with idle as ({idle_threads}), writes as (
    delete from checkpoint_writes where thread_id in (select thread_id from idle)
), blobs as (
    delete from checkpoint_blobs where thread_id in (select thread_id from idle)
)
delete from checkpoints where thread_id in (select thread_id from idle)

-- name: drop_superseded
delete from artifact_uses using superseded_films as old
where artifact_uses.run_id = old.run_id and artifact_uses.digest = old.digest

-- name: unneeded
-- A file that was stored within the last hour may be about to be used; an upload waits for as long as runs are kept.
stored_at < now() - interval '1 hour'
    and (%(digests)s::text[] is null and (kind not in ('image', 'audio') or stored_at < now() - %(keep)s)
        or digest = any(%(digests)s))

-- name: count_files
-- As if these runs were pruned.
select count(*) as files, coalesce(sum(size_bytes), 0)::bigint as bytes from artifacts
where {unneeded} and not exists (select from artifact_uses as used
    where used.digest = artifacts.digest and used.run_id <> all(%(runs)s)
        and not exists (select from superseded_films as old where old.run_id = used.run_id and old.digest = used.digest))

-- name: release_files
with released as (
    delete from artifacts where {unneeded}
        and not exists (select from artifact_uses as used where used.digest = artifacts.digest)
    returning digest, size_bytes
), listed as (
    insert into released_files select digest, size_bytes from released
    on conflict (digest) do update set size_bytes = excluded.size_bytes
)
select count(*) as files, coalesce(sum(size_bytes), 0)::bigint as bytes from released

-- name: claim_daily
insert into daily_work (name) values (%s)
on conflict (name) do update set done_at = now() where daily_work.done_at < now() - interval '1 day'
