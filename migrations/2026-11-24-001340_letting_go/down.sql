create or replace function waybill_job_gone() returns trigger language plpgsql as $$
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
drop table partition_looks;
drop index jobs_held;
create index jobs_held on jobs (hold, ((run_at at time zone 'UTC') + priority * interval '1 minute'), id)
    where hold is not null;
