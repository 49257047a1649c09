-- What a job of a schedule is told, who declares a schedule, and times that queue up.

-- Of a job that a schedule enqueued: {"schedule": name, "for": time}. Null for all others, which it costs nothing.
alter table jobs add column scheduled jsonb;
alter table job_history add column scheduled jsonb;
alter table dead_letters add column scheduled jsonb;

-- Of a schedule of the program: which release declared it, and when last. While two releases run side by side the older one
-- neither writes over nor removes what the newer one declares.
alter table schedules
    add column declared_at timestamptz,
    add column release     bigint;

-- `queue`: both run, one after the other.
alter table schedules drop constraint schedules_overlap_check;
alter table schedules add constraint schedules_overlap_check check (overlap in ('skip', 'allow', 'queue'));

-- Its job was there already: of a kind of which there may be only one.
alter table schedule_fires add column existing boolean not null default false;
