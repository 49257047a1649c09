drop trigger jobs_gone on jobs;
drop trigger jobs_begun on jobs;
drop function waybill_job_gone();
drop function waybill_job_begun();
drop table kind_needs, dependencies, queue_places, kind_controls, limit_key_buckets, queue_controls, job_uniques;
alter table jobs drop constraint jobs_priority_in_range;
drop index jobs_running_by_limit_key, jobs_held_by_limit_key, jobs_held_by_partition, jobs_held, jobs_ready;
alter table jobs drop column hold, drop column unique_key;
create index jobs_ready on jobs (queue, priority, run_at, id) where state = 'queued';
