alter table schedules drop column declared_by, drop column declared_start;
