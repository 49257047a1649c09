-- Letting go what is held: dependencies' probes by queue, and followers whose two predecessors leave at the same moment.

-- By queue first. A dependency's probe is looked for in the queues that can run something, and must not step over 100,000
-- jobs of one that is paused; the order within a queue is as before.
drop index jobs_held;
create index jobs_held on jobs (hold, queue, ((run_at at time zone 'UTC') + priority * interval '1 minute'), id)
    where hold is not null;

-- Partition keys whose next job could not be told when one left, because another transaction had its hands on it. Written
-- seldom and looked at four times a second. The text is not the key: two who note the same one must not wait for each other.
create table partition_looks (
    id            bigint generated always as identity primary key,
    partition_key text not null
);

-- As before, but where it cannot tell who is next it says so. Two that leave at once do not see each other's end, and each may
-- take the other for the next one. Of two, the trigger that runs later meets the other's row deleted and not committed: its
-- xmax is set. An xmax that is left of a lock, or of a transaction that was rolled back, costs one look in vain.
create or replace function waybill_job_gone() returns trigger language plpgsql as $$
declare
    next   record;
    unsure boolean;
begin
    if old.unique_key is not null then
        delete from job_uniques u
        where u.key = old.unique_key and u.job_id = old.id and (u.until is null or u.until <= clock_timestamp());
        if not found then
            update job_uniques u set scope = 'window' where u.key = old.unique_key and u.job_id = old.id;
        end if;
    end if;
    -- One that was held itself was not the head. `order by` both columns: the index by key, whatever the planner thinks of the
    -- number of rows. Never waits: a completion of many jobs must not stand still for somebody who has one row locked.
    if old.partition_key is not null and old.hold is distinct from 'partition' then
        select b.id, b.hold, b.xmax <> 0 as touched into next
        from jobs b where b.partition_key = old.partition_key order by b.partition_key, b.id limit 1;
        if next.hold = 'partition' then
            update jobs j set hold = null
            where j.ctid = any (array(
                select h.ctid from jobs h where h.id = next.id and h.hold = 'partition' for no key update skip locked));
            unsure := not found;
        else
            unsure := next.touched;
        end if;
        if unsure then
            insert into partition_looks (partition_key) values (old.partition_key);
        end if;
    end if;
    return null;
end $$;
