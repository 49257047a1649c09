-- Old and new workers side by side: what each can run, and what of its queues it leaves to others.

-- The kinds that a live worker's code runs, written by itself when it starts.
create table worker_kinds (
    worker_id uuid not null references workers (id) on delete cascade,
    kind      text not null,
    version   smallint not null,                  -- the highest of its arguments that it reads
    primary key (worker_id, kind)
);

-- What a worker does not know and another one of the same queue does. Every claim reads its own, so it is made here, when a
-- worker comes or goes, and not there: while all are alike it is empty.
create table worker_gaps (
    worker_id uuid not null,
    queue     text not null,
    kind      text not null,
    version   smallint not null,                  -- the highest that this worker reads; 0: none
    primary key (worker_id, queue, kind)
);

-- One at a time: whoever comes second sees what the first has done. A worker that has never said what it knows (its release
-- is older than this table) would not heed what is said here either.
create function waybill_worker_gaps() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtext('waybill_worker_gaps'));
    with served as materialized (
        select w.id, q.queue from workers w cross join lateral (select distinct unnest(w.queues) as queue) q
        where exists (select from worker_kinds k where k.worker_id = w.id)),
    best as materialized (
        select s.queue, k.kind, max(k.version) as version
        from served s join worker_kinds k on k.worker_id = s.id group by s.queue, k.kind),
    gaps as materialized (
        select s.id as worker_id, s.queue, b.kind, coalesce(k.version, 0) as version
        from served s
        join best b on b.queue = s.queue
        left join worker_kinds k on k.worker_id = s.id and k.kind = b.kind
        where coalesce(k.version, 0) < b.version),
    gone as (
        delete from worker_gaps o
        where not exists (select from gaps g
                          where g.worker_id = o.worker_id and g.queue = o.queue and g.kind = o.kind))
    insert into worker_gaps as o (worker_id, queue, kind, version)
    select worker_id, queue, kind, version from gaps
    on conflict (worker_id, queue, kind) do update set version = excluded.version where o.version <> excluded.version;
    return null;
end $$;
create trigger worker_kinds_come after insert on worker_kinds
    for each statement execute function waybill_worker_gaps();
create trigger worker_kinds_go after delete on worker_kinds
    for each statement execute function waybill_worker_gaps();
