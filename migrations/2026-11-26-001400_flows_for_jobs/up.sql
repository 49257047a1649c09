-- Flows that do the work of a job, and end with it.

-- Cancelled once that job is neither live nor a dead letter, whatever became of it. One that is done had no work left.
alter table flows add column for_job uuid;

-- Who ends jobs closes the imports that they were to read.
create index imports_by_job on imports (job_id);
