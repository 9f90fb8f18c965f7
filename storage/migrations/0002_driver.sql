-- Who drives a run may write its thread, and nobody else. A process that was frozen and wakes up beside its
-- successor finds that its name is no longer here, and every checkpoint it would write is refused.

alter table runs add column driver text;          -- the application_name of the sessions of that process

create function only_the_driver_writes() returns trigger language plpgsql as $$
declare
    named text;
begin
    if new.thread_id !~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' then
        return new;
    end if;
    -- The share lock is held until the commit: the row cannot go to another driver in between.
    select driver into named from runs where id = new.thread_id::uuid for share;
    if found and named is distinct from current_setting('application_name') then
        raise exception 'run % is driven by another process', new.thread_id using errcode = 'MW001';
    end if;
    return new;
end
$$;

create trigger only_the_driver_writes before insert or update on checkpoints
    for each row execute function only_the_driver_writes();
create trigger only_the_driver_writes before insert or update on checkpoint_blobs
    for each row execute function only_the_driver_writes();
create trigger only_the_driver_writes before insert or update on checkpoint_writes
    for each row execute function only_the_driver_writes();
