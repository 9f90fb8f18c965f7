-- Pruning: an ended run can lose its words and its files. What guards against a second payment or publication stays: the
-- row of the run, its orders, its decisions without their words, the ids of its webhooks. See docs/operate/keeping.md.
alter table runs add column pruned_at timestamptz;
create index runs_to_prune on runs (updated_at) where pruned_at is null and status in ('completed', 'failed');
create index runs_forked on runs (forked_from) where forked_from is not null;
create index idempotency_records_of_run on idempotency_records ((body ->> 'run_id'));

-- The hash of a decision contains a salted digest of its words, so that they can go. Earlier rows, in which the words
-- themselves were hashed, have none.
alter table decisions add column words_digest text, add column words_salt text;

-- The record of each pruned run, a link of the chain of decisions: their numbers are of one sequence.
create table prunings (
    number         bigint primary key,
    run_id         uuid not null unique references runs (id),
    actor_id       text not null,                 -- who had the run pruned
    remains        jsonb not null,                -- by number of an earlier decision, the digest of what is left of it
    pruned_at      timestamptz not null,
    previous_hash  text not null,
    hash           text not null unique
);
create view decision_chain as select number, hash from decisions union all select number, hash from prunings;

-- A process of an earlier version knows no prunings: it must not give one of their numbers to a decision.
create function check_decision_number() returns trigger language plpgsql as $$
begin
    if exists (select from prunings where number >= new.number) then
        raise exception 'decision % would not follow the newest pruning', new.number;
    end if;
    return new;
end
$$;
create trigger check_decision_number before insert on decisions for each row execute function check_decision_number();

-- A fork needs what is left of its source only if it was made before the source is pruned.
create function check_source() returns trigger language plpgsql as $$
begin
    perform from runs where id = new.forked_from and pruned_at is null for share;
    if not found then
        raise exception 'run % was pruned', new.forked_from using errcode = 'MW002';
    end if;
    return new;
end
$$;
create trigger check_source before insert on runs for each row when (new.forked_from is not null)
    execute function check_source();

-- Which run needs which files. The foreign key keeps a file as long as a run refers to it, whichever is committed first.
alter table artifacts add column stored_at timestamptz not null default now();   -- the last time that it was stored
create table artifact_uses (
    run_id  uuid not null,
    digest  text not null references artifacts (digest),
    primary key (run_id, digest)
);
create index artifact_uses_of_file on artifact_uses (digest);

-- Files whose rows are deleted, and which are to be deleted themselves.
create table released_files (
    digest      text primary key,
    size_bytes  bigint not null
);

-- Daily work of the workers, each done by one of them.
create table daily_work (
    name     text primary key,
    done_at  timestamptz not null default now()
);

-- Every digest of a stored file in the text is a use by the run, unless the run is pruned.
create function record_artifact_uses(run uuid, texts text) returns void language sql as $$
    insert into artifact_uses (run_id, digest)
    select run, digest from artifacts
    where digest in (select found[1] from regexp_matches(texts, '[0-9a-f]{64}', 'g') as found)
        and exists (select from runs where id = run and pruned_at is null)
    order by digest for key share of artifacts
    on conflict do nothing
$$;

create function record_uses_of_order() returns trigger language plpgsql as $$
begin
    perform record_artifact_uses(new.run_id, concat_ws(' ', new.request, new.result, new.task_id));
    return null;
end
$$;
create trigger record_uses after insert or update of request, result, task_id on orders for each row
    when (new.run_id is not null and new.kind <> 'model') execute function record_uses_of_order();

create function record_uses_of_run() returns trigger language plpgsql as $$
begin
    perform record_artifact_uses(new.id, new.seed::text);
    return null;
end
$$;
create trigger record_uses after insert on runs for each row when (new.seed <> '{}')
    execute function record_uses_of_run();

create function record_uses_of_decision() returns trigger language plpgsql as $$
begin
    perform record_artifact_uses(new.run_id, new.edits::text);
    return null;
end
$$;
create trigger record_uses after insert on decisions for each row when (new.edits is not null)
    execute function record_uses_of_decision();

select record_artifact_uses(id, concat_ws(' ', seed, artifacts, review,
    (select string_agg(concat_ws(' ', request, result, task_id), ' ') from orders where run_id = runs.id and kind <> 'model'),
    (select string_agg(edits::text, ' ') from decisions where run_id = runs.id)))
from runs;

-- Whether an ended run can be continued.
create function can_continue(one runs) returns boolean language sql immutable as $$
    select one.status not in ('completed', 'failed') or coalesce((one.error ->> 'retryable')::boolean, false)
$$;

-- The files of renders that were replaced by a later one, and neither approved nor published.
create view superseded_films as
    select orders.run_id, files.digest
    from orders join runs on runs.id = orders.run_id
        cross join lateral (values (result ->> 'digest'), (result ->> 'subtitles_digest')) as files (digest)
    where kind = 'render' and state = 'settled' and not can_continue(runs) and pruned_at is null
        and files.digest is not null and strpos(runs.artifacts::text, files.digest) = 0
        and not exists (select from orders as post where post.run_id = runs.id and post.kind = 'publication'
            and strpos(post.request::text, files.digest) > 0)
        and not exists (select from decisions join events on events.run_id = runs.id and events.kind = 'review.opened'
                and events.payload ->> 'digest' = seen_digest
            where decisions.run_id = runs.id and gate = 'publish' and verdict = 'approve'
                and strpos(events.payload::text, files.digest) > 0);

-- A pruned run has no film: its orders keep the seconds that were published.
create or replace function day_sums_of(one orders) returns setof day_sums language sql stable as $$
    select (one.created_at at time zone 'utc')::date, coalesce(project, ''), one.provider,
        reserved_usd_of(one), coalesce(one.spent_usd, 0),
        case when one.kind = 'clip' and (one.state = 'settled' or coalesce(one.result ? 'charged', false))
            then coalesce((one.request ->> 'seconds')::numeric, 0) else 0 end,
        case when is_posted(one) and not exists (select from orders as other
                where other.run_id = one.run_id and other.kind = 'publication' and other.key <> one.key
                    and is_posted(other))
            then coalesce((artifacts #>> '{final_video,seconds}')::numeric, (one.result ->> 'film_seconds')::numeric, 0)
            else 0 end
    from (select one.run_id as id) as of_order left join runs using (id)
$$;
