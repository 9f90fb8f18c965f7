-- Versions before this one did not sign films. What was approved with them is published as it was approved.
create table unsigned_approvals (
    decision  bigint primary key references decisions (number)
);
insert into unsigned_approvals select number from decisions where gate = 'publish' and verdict = 'approve';

-- A film at an open publish gate is rendered again, which signs it, by a decision of the upgrade: see runs/upgrade.py.
-- The runs that wait there are woken for it.
alter table decisions drop constraint decisions_channel_check, add constraint decisions_channel_check check (channel in (
    'api', 'cli', 'console', 'chat', 'mcp', 'studio', 'link', 'deadline', 'upgrade'));
update runs set next_wakeup_at = now() where status = 'awaiting_publish_approval';
