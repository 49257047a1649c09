-- Work that comes round. Any number of schedulers look at these rows: the key of schedule_fires lets each time fire once.
create table schedules (
    name         text primary key,
    origin       text not null check (origin in ('code', 'api')),
    -- When: `every 30s`, or five or six cron fields in the time zone.
    spec         text not null,
    time_zone    text not null default 'UTC',      -- IANA name
    -- What to do about times that passed while nobody looked: nothing, fire once, fire each up to missed_limit.
    missed       text not null default 'once' check (missed in ('skip', 'once', 'all')),
    missed_limit integer not null default 1 check (missed_limit between 1 and 1000),
    -- Whether to fire while the job of the last time still lives.
    overlap      text not null default 'skip' check (overlap in ('skip', 'allow')),
    paused       boolean not null default false,
    -- The job.
    kind         text not null,
    version      smallint not null default 1,
    queue        text not null,
    max_attempts smallint not null,
    payload      jsonb not null,
    next_at      timestamptz not null,
    last_at      timestamptz,
    last_job_id  uuid,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now()
);
create index schedules_due on schedules (next_at) where not paused;

create table schedule_fires (
    schedule text not null references schedules (name) on delete cascade,
    fire_at  timestamptz not null,
    job_id   uuid,                                 -- null: skipped, because the last one still lived
    fired_at timestamptz not null default now(),
    primary key (schedule, fire_at)
);
create index schedule_fires_by_age on schedule_fires (fired_at);
