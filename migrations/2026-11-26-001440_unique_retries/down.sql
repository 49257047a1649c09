drop trigger dead_letters_unique_scope on dead_letters;
drop trigger job_history_unique_scope on job_history;
drop function waybill_keep_unique_scope();
alter table dead_letters drop column unique_scope, drop column unique_key;
alter table job_history drop column unique_scope, drop column unique_key;
