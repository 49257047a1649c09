-- One row per process that claims jobs. The lease of every job a worker holds IS this row's lease: the
-- heartbeat extends one row, not thousands, and a reaper that sees it expired takes all of them over.
create table workers (
    id            uuid primary key,              -- new at every start
    service       text not null,
    host          text not null,
    pid           integer not null,
    version       text not null,
    queues        text[] not null default '{}',
    state         text not null default 'running' check (state in ('running', 'draining')),
    -- Key of the session advisory lock the process holds while it lives; free = dead. 0: it holds none (behind a
    -- transaction pooler), only the lease counts.
    lock_key      bigint not null,
    -- When a reaper first saw the lock free; the process has the grace to take one again.
    unlocked_at   timestamptz,
    event_lane    text check (event_lane in ('amqp', 'postgres')),
    event_lane_reason text,
    started_at    timestamptz not null default now(),
    heartbeat_at  timestamptz not null default now(),
    lease_until   timestamptz not null
);

-- Live jobs only: a finished one moves to job_history in the statement that completes it.
create table jobs (
    id             uuid primary key,
    kind           text not null,
    version        smallint not null default 1,
    queue          text not null,
    priority       smallint not null default 0,   -- smaller runs first
    state          text not null default 'queued'
                   check (state in ('scheduled', 'queued', 'running')),
    run_at         timestamptz not null default now(),
    attempt        smallint not null default 0,
    max_attempts   smallint not null check (max_attempts > 0),
    snoozes        integer not null default 0,
    -- Fencing token: +1 at every claim, never back. Every outcome is guarded by (id, claim, state = running).
    claim          bigint not null default 0,
    worker_id      uuid,
    claimed_at     timestamptz,
    -- Jobs of one key run one at a time, in id order.
    partition_key  text,
    correlation_id uuid,                          -- the order (import, ...) whose trail this belongs to
    causation_id   uuid,                          -- the job or event that enqueued it
    owner_id       uuid,                          -- the user who may read it
    traceparent    text,
    payload        jsonb not null,
    progress       jsonb,
    -- One entry per attempt that did not end in done: attempt, outcome, error, started_at, finished_at, worker_id.
    failures       jsonb not null default '[]',
    created_at     timestamptz not null default now(),
    constraint jobs_running_has_worker check ((state = 'running') = (worker_id is not null))
);
create index jobs_ready on jobs (queue, priority, run_at, id) where state = 'queued';
create index jobs_scheduled on jobs (run_at) where state = 'scheduled';
-- Not `where state = 'running'`, which is the same rows: completions name that state, and would be planned as a scan of
-- this index whenever few jobs run while the plan is made.
create index jobs_by_worker on jobs (worker_id) where worker_id is not null;
create index jobs_by_partition_key on jobs (partition_key, id) where partition_key is not null;
-- The claim looks for heads of keys; two claimers at once can both see one. This lets one have it.
create unique index jobs_one_running_per_key on jobs (partition_key)
    where state = 'running' and partition_key is not null;
create index jobs_by_correlation on jobs (correlation_id) where correlation_id is not null;
-- Never truncated: truncating takes a lock that stops everything, and a table that is large while it is empty keeps the
-- planner from scanning it, with plans that are cached for a table that will be full a second later.
alter table jobs set (fillfactor = 80, vacuum_truncate = false, autovacuum_vacuum_scale_factor = 0.02,
                      autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

create table job_history (
    id             uuid not null,
    kind           text not null,
    version        smallint not null,
    queue          text not null,
    priority       smallint not null,
    state          text not null check (state in ('done', 'cancelled', 'discarded')),
    attempt        smallint not null,
    max_attempts   smallint not null,
    snoozes        integer not null,
    claim          bigint not null,
    worker_id      uuid,
    claimed_at     timestamptz,
    run_at         timestamptz not null,
    partition_key  text,
    correlation_id uuid,
    causation_id   uuid,
    owner_id       uuid,
    traceparent    text,
    payload        jsonb not null,
    progress       jsonb,
    failures       jsonb not null,
    created_at     timestamptz not null,
    finished_at    timestamptz not null default now(),
    result         jsonb,
    reason         text                            -- why cancelled or discarded
) partition by range (finished_at);
create index job_history_by_id on job_history (id);
create index job_history_by_correlation on job_history (correlation_id) where correlation_id is not null;
create table job_history_default partition of job_history default;

-- Jobs whose attempts are used up, or whose payload cannot be read. Kept until somebody decides.
create table dead_letters (
    id             uuid primary key,
    kind           text not null,
    version        smallint not null,
    queue          text not null,
    priority       smallint not null,
    attempt        smallint not null,
    max_attempts   smallint not null,
    snoozes        integer not null,
    claim          bigint not null,
    worker_id      uuid,
    claimed_at     timestamptz,
    run_at         timestamptz not null,
    partition_key  text,
    correlation_id uuid,
    causation_id   uuid,
    owner_id       uuid,
    traceparent    text,
    payload        jsonb not null,
    progress       jsonb,
    failures       jsonb not null,
    created_at     timestamptz not null,
    died_at        timestamptz not null default now(),
    reason         text not null
);
create index dead_letters_by_kind on dead_letters (kind, died_at);
create index dead_letters_by_correlation on dead_letters (correlation_id) where correlation_id is not null;
