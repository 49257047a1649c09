-- What holds jobs back, beside their time: uniqueness, pauses, limits, dependencies that are down, and keys.

alter table jobs
    -- What keeps a queued job from being claimed, if anything does: `partition` (another job of its partition key is in
    -- front), `key` (its limit key is at its limit), `kind:...` (paused), `needs:...` (a dependency is down). The claim
    -- checks all of these itself; a hold only takes a job that it met in vain out of its way, until the reason is gone.
    add column hold       text constraint jobs_held_is_queued check (hold is null or state = 'queued'),
    -- The slot in `job_uniques` that it has, or had. A dead letter has none: it is retried beside whatever came after it.
    add column unique_key text;

-- Smaller runs first, and each step of priority is worth a minute of waiting: whatever waits long enough runs before all
-- that came later, so nothing starves. As an expression in UTC it is immutable and can be the order of the index.
drop index jobs_ready;
create index jobs_ready on jobs (queue, ((run_at at time zone 'UTC') + priority * interval '1 minute'), id)
    where state = 'queued' and hold is null;
create index jobs_held on jobs (hold, ((run_at at time zone 'UTC') + priority * interval '1 minute'), id)
    where hold is not null;
create index jobs_held_by_partition on jobs (partition_key, id) where hold = 'partition';
create index jobs_held_by_limit_key on jobs
    (queue, limit_key, ((run_at at time zone 'UTC') + priority * interval '1 minute'), id) where hold = 'key';
-- Who runs of a limit key. Not `where state = 'running'`: see jobs_by_worker.
create index jobs_running_by_limit_key on jobs (queue, limit_key) where worker_id is not null and limit_key is not null;
alter table jobs add constraint jobs_priority_in_range check (priority between -1000 and 1000) not valid;

-- One row per unique key that is taken. The primary key decides who has it: whoever inserts waits for another who is
-- inserting the same, and has it if that one rolls back.
create table job_uniques (
    key     text primary key,                     -- `kind:key`
    job_id  uuid not null,
    -- Until when its job keeps it: until it first runs, until it is over, or for the window only.
    scope   text not null check (scope in ('waiting', 'live', 'window')),
    until   timestamptz,                          -- end of the window; the slot is kept until then in any case
    constraint job_uniques_window_ends check (scope <> 'window' or until is not null)
);
create index job_uniques_expired on job_uniques (until) where scope = 'window';

-- Gives up what a job held, when it leaves by whatever path. Its unique slot, unless its window lasts; and the next job of
-- its partition key is let go, if it was held.
create function waybill_job_gone() returns trigger language plpgsql as $$
begin
    if old.unique_key is not null then
        delete from job_uniques u
        where u.key = old.unique_key and u.job_id = old.id and (u.until is null or u.until <= clock_timestamp());
        if not found then
            update job_uniques u set scope = 'window' where u.key = old.unique_key and u.job_id = old.id;
        end if;
    end if;
    -- One that was held itself was not the head. `order by` both columns: the index by key, whatever the planner thinks of the
    -- number of rows. Never waits: a completion of many jobs must not stand still for somebody who has one row locked, who
    -- either deletes it, or leaves it to the next sweep.
    if old.partition_key is not null and old.hold is distinct from 'partition' then
        update jobs j set hold = null
        where j.ctid = any (array(
            select h.ctid from jobs h
            where h.hold = 'partition'
              and h.id = (select b.id from jobs b where b.partition_key = old.partition_key
                          order by b.partition_key, b.id limit 1)
            for no key update skip locked));
    end if;
    return null;
end $$;
create trigger jobs_gone after delete on jobs for each row
    when (old.unique_key is not null or old.partition_key is not null) execute function waybill_job_gone();

-- A slot for as long as the job waits is given up when it first runs.
create function waybill_job_begun() returns trigger language plpgsql as $$
begin
    delete from job_uniques u
    where u.key = old.unique_key and u.job_id = old.id and u.scope = 'waiting'
      and (u.until is null or u.until <= clock_timestamp());
    if not found then
        update job_uniques u set scope = 'window'
        where u.key = old.unique_key and u.job_id = old.id and u.scope = 'waiting';
    end if;
    return null;
end $$;
create trigger jobs_begun after update of state on jobs for each row
    when (old.unique_key is not null and new.state = 'running') execute function waybill_job_begun();

-- What operators, and defaults in code, say of a queue. A queue without a row has neither pause nor limit.
create table queue_controls (
    queue           text primary key,
    paused_at       timestamptz,
    paused_by       text,
    pause_reason    text,
    max_running     integer check (max_running >= 0),       -- of all workers together
    max_per_key     integer check (max_per_key > 0),        -- the same per limit key
    -- Token buckets: `rate` jobs per `rate_period` seconds, at most `rate_burst` at once.
    rate            integer check (rate > 0),
    rate_period     double precision check (rate_period > 0),
    rate_burst      integer check (rate_burst > 0),
    key_rate        integer check (key_rate > 0),
    key_rate_period double precision check (key_rate_period > 0),
    key_rate_burst  integer check (key_rate_burst > 0),
    -- Of the queue's bucket, as of `filled_at`; none taken yet: null.
    tokens          double precision,
    filled_at       timestamptz,
    limits_origin   text not null default 'code' check (limits_origin in ('code', 'operator')),
    updated_at      timestamptz not null default now(),
    updated_by      text not null,
    key_limited     boolean not null generated always as (max_per_key is not null or key_rate is not null) stored,
    limited         boolean not null generated always as
        (max_running is not null or max_per_key is not null or rate is not null or key_rate is not null) stored,
    constraint queue_controls_rate_whole check
        (num_nulls(rate, rate_period, rate_burst) in (0, 3) and num_nulls(key_rate, key_rate_period, key_rate_burst) in (0, 3))
);

-- Buckets of limit keys, written when a token is taken; a full one needs no row.
create table limit_key_buckets (
    queue     text not null,
    limit_key text not null,
    tokens    double precision not null,
    filled_at timestamptz not null,
    primary key (queue, limit_key)
);
create index limit_key_buckets_by_age on limit_key_buckets (filled_at);

create table kind_controls (
    kind         text primary key,
    paused_at    timestamptz,
    paused_by    text,
    pause_reason text,
    updated_at   timestamptz not null default now(),
    updated_by   text not null
);

-- Every claim asks which kinds are paused, and what is down.
create index kind_controls_paused on kind_controls (kind) where paused_at is not null;

-- How many jobs of a queue run at a time in a worker, if not as it was started: in one of them, or (nil) in all.
create table queue_places (
    queue      text not null,
    worker_id  uuid not null default '00000000-0000-0000-0000-000000000000',
    places     integer not null check (places between 0 and 10000),
    updated_at timestamptz not null default now(),
    updated_by text not null,
    primary key (queue, worker_id)
);

-- What is outside, and may be away. Jobs whose kind needs one that is down wait.
create table dependencies (
    name       text primary key,
    down_since timestamptz,                       -- null: up
    down_until timestamptz,                       -- from then on one job may try
    reason     text,
    probe_id   uuid,                              -- that job
    updated_at timestamptz not null default now(),
    constraint dependencies_down_whole check ((down_since is null) = (down_until is null))
);

create index dependencies_down on dependencies (name) where down_since is not null;

-- From the code of the kinds; written by each worker that starts.
create table kind_needs (
    kind       text not null,
    dependency text not null,
    primary key (dependency, kind)
);
create index kind_needs_by_kind on kind_needs (kind);
