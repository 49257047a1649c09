-- What operators need: one-off schedules, fires made by hand, a record of who changed what, and finished jobs by time.

-- A one-off schedule that has fired rests: it has no next time.
alter table schedules alter column next_at drop not null;
-- Why the scheduler rests it: its times or its kind can no longer be read. Cleared by a replacement or a resume.
alter table schedules add column problem text;

-- Fired by an operator, beside its times.
alter table schedule_fires add column manual boolean not null default false;

-- Who changed what at run time. Never updated; shed by age with the history.
create table operator_actions (
    id     uuid primary key,
    at     timestamptz not null default now(),
    actor  text not null,                          -- admin:<user>, api_key:<key>
    action text not null,                          -- area.verb
    target text not null,                          -- a queue, a kind, a job, a schedule
    detail jsonb not null default '{}'
);

create index dead_letters_newest on dead_letters (died_at desc, id desc);

-- How fast a queue drains is read off the newest rows of the history. They lie in the order of their end, so a few bytes per
-- megabyte find them and completing a job pays next to nothing; a tree over finished_at would cost it a page write.
create index job_history_by_finish on job_history using brin (finished_at) with (autosummarize = on);
