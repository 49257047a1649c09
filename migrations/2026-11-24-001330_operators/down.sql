drop index job_history_by_finish;
drop index dead_letters_newest;
drop table operator_actions;
alter table schedule_fires drop column manual;
alter table schedules drop column problem;
delete from schedules where next_at is null;
alter table schedules alter column next_at set not null;
