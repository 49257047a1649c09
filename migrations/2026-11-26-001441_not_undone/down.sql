update flow_steps set state = 'undone' where state = 'not_undone';
alter table flow_steps drop constraint flow_steps_state_check;
alter table flow_steps add constraint flow_steps_state_check check (state in
    ('waiting', 'live', 'done', 'dead', 'cancelled', 'skipped', 'undoing', 'undone'));
