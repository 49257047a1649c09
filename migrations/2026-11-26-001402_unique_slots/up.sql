-- Taking unique slots without deadlocks.

-- Takes slots for jobs and says of each who has it; null if others took and left it faster than this could. To be called by
-- the statement that writes the jobs.
--
-- In the order of their keys, and none before the one in front of it is decided: whoever waits here has only keys before the
-- one it waits for, so callers wait for each other and never in a circle. One statement does it for all, a third of the
-- price of a loop, unless one has to be come back to (its holder left before it could be read, or its window is over and
-- has to make room): then what it has taken is given back, and the loop takes them one by one.
--
-- By index, row by row: plans are kept, and one made while few slots are taken would read the whole table when there are many.
--
-- On a conflict nothing is locked: a completion that gives the slot up must not wait for the caller's transaction. Each
-- statement in here sees what was committed before it, which the statement that calls it does not.
create function waybill_take_slots(slots text[], jobs uuid[], scopes text[], withins double precision[])
returns table (job uuid, holder uuid) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    wanted  uuid[];
    holders uuid[];
    want    record;
    has     record;
begin
    if cardinality(array_remove(slots, null)) > 1 and not exists (
        select from job_uniques u where u.key = any (slots) and u.scope = 'window' and u.until <= clock_timestamp())
    then
        begin
            insert into job_uniques (key, job_id, scope, until)
            select w.slot, w.id, w.scope, clock_timestamp() + w.within * interval '1 second'
            from unnest(slots, jobs, scopes, withins) with ordinality as w(slot, id, scope, within, place)
            where w.slot is not null
            order by w.slot, w.place
            on conflict do nothing;
            select array_agg(w.id), array_agg(u.job_id) into wanted, holders
            from unnest(slots, jobs) as w(slot, id) left join job_uniques u on u.key = w.slot
            where w.slot is not null;
            if array_position(holders, null) is not null then
                raise exception 'a slot changed hands' using errcode = 'WB001';
            end if;
            return query select * from unnest(wanted, holders);
            return;
        exception when sqlstate 'WB001' then
            null;
        end;
    end if;
    for want in
        select w.slot, w.id, w.scope, w.within
        from unnest(slots, jobs, scopes, withins) with ordinality as w(slot, id, scope, within, place)
        where w.slot is not null
        order by w.slot, w.place
    loop
        job := want.id;
        holder := null;
        for try in 1..20 loop
            insert into job_uniques (key, job_id, scope, until)
            values (want.slot, want.id, want.scope, clock_timestamp() + want.within * interval '1 second')
            on conflict do nothing;
            if found then
                holder := want.id;
                exit;
            end if;
            select u.job_id, u.scope = 'window' and u.until <= clock_timestamp() as over into has
            from job_uniques u where u.key = want.slot;
            -- Not found: who had it has just left.
            if found and not has.over then
                holder := has.job_id;
                exit;
            elsif found then
                delete from job_uniques u
                where u.key = want.slot and u.scope = 'window' and u.until <= clock_timestamp();
            end if;
        end loop;
        return next;
    end loop;
end $$;

-- As before, but a slot of which only the window is left is nobody's to give up: it ends with its time. One whose window is
-- over may be in the hands of somebody who enqueues, for whom the end of a job must not wait: that one may wait for the next
-- slot that this statement gives up.
create or replace function waybill_job_gone() returns trigger language plpgsql as $$
declare
    next   record;
    unsure boolean;
begin
    if old.unique_key is not null then
        delete from job_uniques u
        where u.key = old.unique_key and u.job_id = old.id and u.scope <> 'window'
          and (u.until is null or u.until <= clock_timestamp());
        if not found then
            update job_uniques u set scope = 'window'
            where u.key = old.unique_key and u.job_id = old.id and u.scope <> 'window';
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
