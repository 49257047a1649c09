drop trigger jobs_claimed on jobs;
drop function waybill_job_claimed();
drop view running_jobs;
drop index jobs_ready, jobs_scheduled, jobs_one_running_per_key, jobs_running_by_limit_key, jobs_asked_to_end;
alter table jobs drop column claim_batch, drop column due, drop column running_key, drop column running_limit_key;
alter table jobs set (fillfactor = 80);
create index jobs_ready on jobs (queue, ((run_at at time zone 'UTC') + priority * interval '1 minute'), id)
    where state = 'queued' and hold is null;
create index jobs_scheduled on jobs (run_at) where state = 'scheduled';
create index jobs_by_worker on jobs (worker_id) where worker_id is not null;
create unique index jobs_one_running_per_key on jobs (partition_key)
    where state = 'running' and partition_key is not null;
create index jobs_running_by_limit_key on jobs (queue, limit_key) where worker_id is not null and limit_key is not null;
create index jobs_asked_to_end on jobs (worker_id) where cancel is not null and not undo;
drop table job_claims;
