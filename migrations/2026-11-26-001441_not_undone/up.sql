-- A step whose compensation somebody discarded, or that gave itself up: what it did stays, and its flow says so.
alter table flow_steps drop constraint flow_steps_state_check;
alter table flow_steps add constraint flow_steps_state_check check (state in
    ('waiting', 'live', 'done', 'dead', 'cancelled', 'skipped', 'undoing', 'undone', 'not_undone')) not valid;
alter table flow_steps validate constraint flow_steps_state_check;
