-- What a job carries with it wherever it goes: the same columns in all three tables. `job_columns!` in schema/src/lib.rs
-- names those that a statement copies from one to the other.

alter table jobs
    add column limit_key   text,                         -- what limits per key count by: a merchant, a host
    add column flow_id     uuid,                         -- the batch or workflow it is part of
    add column step        text,                         -- its name there
    add column subject_id  uuid,                         -- the person its arguments speak of: found when that person is erased
    add column compensates boolean not null default false; -- its kind can undo what it did

alter table job_history
    add column limit_key   text,
    add column flow_id     uuid,
    add column step        text,
    add column subject_id  uuid,
    add column compensates boolean not null default false;

alter table dead_letters
    add column limit_key   text,
    add column flow_id     uuid,
    add column step        text,
    add column subject_id  uuid,
    add column compensates boolean not null default false;

create index jobs_by_flow on jobs (flow_id) where flow_id is not null;
create index job_history_by_flow on job_history (flow_id) where flow_id is not null;
create index dead_letters_by_flow on dead_letters (flow_id) where flow_id is not null;
create index jobs_by_subject on jobs (subject_id) where subject_id is not null;
create index job_history_by_subject on job_history (subject_id) where subject_id is not null;
create index dead_letters_by_subject on dead_letters (subject_id) where subject_id is not null;
