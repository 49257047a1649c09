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

drop function waybill_take_slots;
