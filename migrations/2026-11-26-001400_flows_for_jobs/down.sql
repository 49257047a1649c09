drop index imports_by_job;
alter table flows drop column for_job;
