-- Jobs of this worker whose handlers did not end when they had to: they never yield, so nothing can end them but the process.
alter table workers add column overdue integer not null default 0;
