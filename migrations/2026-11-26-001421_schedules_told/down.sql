alter table schedule_fires drop column existing;
update schedules set overlap = 'allow' where overlap = 'queue';
alter table schedules drop constraint schedules_overlap_check;
alter table schedules add constraint schedules_overlap_check check (overlap in ('skip', 'allow'));
alter table schedules drop column declared_at, drop column release;
alter table dead_letters drop column scheduled;
alter table job_history drop column scheduled;
alter table jobs drop column scheduled;
