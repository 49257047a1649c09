-- When a job that tried a dependency last had an answer. A job that is not answered again, after others were, is itself to
-- blame, and its attempts count.
alter table dependencies add column answered_at timestamptz;
