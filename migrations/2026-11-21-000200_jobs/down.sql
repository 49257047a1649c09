drop table dead_letters;
drop table job_history;
drop table jobs;
drop table workers;
