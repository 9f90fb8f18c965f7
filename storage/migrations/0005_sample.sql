-- The only clips to generate after an approval of ideas, before the ideation gate opens again with the rest: [number].
alter table decisions add column sample jsonb;
