-- name: of_run
-- Version 0.2 hashed ids that were derived from the keys.
select (jsonb_populate_record(d, jsonb_build_object('actor_id', coalesce(k.id, d.actor_id)))).*
from decisions as d left join api_keys as k on k.former_id = d.actor_id where run_id = %s order by number

-- name: close_review
update runs set status = 'running', review = null, updated_at = now(), next_wakeup_at = now() + %s where id = %s

-- name: insert
-- JSON nulls become SQL nulls, so one JSON object is both what is hashed and what is stored.
insert into decisions select * from jsonb_populate_record(null::decisions, %s) returning *

-- name: last
select number, hash from decision_chain order by number desc limit 1

-- name: head
select (select count(*) from decisions) as count, (select hash from decision_chain order by number desc limit 1) as hash

-- name: by_idempotency_key
select * from decisions where run_id = %s and actor_id = %s and idempotency_key = %s

-- name: chain_lock
-- Serialises the appends to the chain.
select pg_advisory_xact_lock(hashtextextended('decisions', 0))

-- name: strip
-- The numbers of the clips stay: they belong to what was approved.
update decisions set comment = null, edits = null, claimed_user = null, words_salt = null,
    clips = case when clips is not null then coalesce(
        (select jsonb_agg(jsonb_build_object('clip', each -> 'clip')) from jsonb_array_elements(clips) as each), '[]') end
where run_id = %s returning *

-- name: insert_pruning
insert into prunings select * from jsonb_populate_record(null::prunings, %s)

-- name: notes
-- What people wrote and changed when they decided about films of a project, newest first. A text that an idea had before,
-- at whatever place, was not changed.
with decided as (
    select number, gate, comment, clips, jsonb_typeof(edits) = 'array' as of_ideas, edits, (
        select payload -> 'content' from events where events.run_id = decisions.run_id and kind = 'review.opened'
            and payload ->> 'digest' = seen_digest limit 1) as content
    from decisions join runs on runs.id = decisions.run_id
    where project = %s and number > %s and decisions.actor_kind not in ('deadline', 'upgrade')
    order by number desc limit 50),
edited as (
    select number, case when of_ideas then edits else jsonb_build_array(edits) end as edits,
           case when of_ideas then content -> 'ideas' else jsonb_build_array(content) end as seen
    from decided where edits is not null and content is not null)
select number, left(regexp_replace(note, '\s+', ' ', 'g'), 500) as note from (
    select number, gate || ': ' || comment as note from decided where comment <> ''
    union all
    select number, 'clip again: ' || (clip ->> 'comment') from decided, jsonb_array_elements(clips) as clip
    where clip ->> 'comment' <> ''
    union all
    select number, concat('edited ', name, ': "', seen -> (place::int - 1) ->> name, '" became "', changed, '"')
    from edited, jsonb_array_elements(edits) with ordinality as item (texts, place),
         jsonb_each_text(texts) as field (name, changed)
    where name in ('title', 'scene', 'sound', 'overlay', 'narration', 'caption', 'hashtags', 'overlays')
      and changed <> '' and not exists (select from jsonb_array_elements(seen) as each where each ->> name = changed)
) as notes order by number desc limit 100
