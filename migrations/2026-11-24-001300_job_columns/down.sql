alter table dead_letters
    drop column limit_key, drop column flow_id, drop column step, drop column subject_id, drop column compensates;
alter table job_history
    drop column limit_key, drop column flow_id, drop column step, drop column subject_id, drop column compensates;
alter table jobs
    drop column limit_key, drop column flow_id, drop column step, drop column subject_id, drop column compensates;
