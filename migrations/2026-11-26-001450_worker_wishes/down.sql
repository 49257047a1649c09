drop trigger workers_gone on workers;
drop function waybill_worker_gone();
update workers set state = 'running' where state = 'quiet';
alter table workers
    drop column quiet_at,
    drop column quiet_by,
    drop column places,
    drop constraint workers_state_check,
    add constraint workers_state_check check (state in ('running', 'draining'));
