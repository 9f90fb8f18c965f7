-- A reviewer may choose an earlier take; a run may begin with what another has paid for.

alter table decisions add column takes jsonb;     -- by number of the clip, the take to use

alter table runs add column forked_from uuid references runs (id);
alter table runs add column seed jsonb not null default '{}';     -- what the thread begins with beside its facts
