-- The end of a run is confirmed by a code too, at no gate; and a person can withdraw what was prepared.
alter table pending_confirmations
    alter column gate drop not null,
    drop constraint pending_confirmations_verdict_check,
    add constraint pending_confirmations_verdict_check check (verdict in ('approve', 'revise', 'reject', 'cancel')),
    add column withdrawn_at timestamptz;
