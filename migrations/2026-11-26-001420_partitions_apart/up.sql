-- Partitions made and dropped so that nobody waits for it.
--
-- `create table .. partition of` and `drop table` of a partition take ACCESS EXCLUSIVE on the parent. Behind one reader that
-- stays (a dump of the database), such a request waits, and every completion waits behind it. So:
--
-- * A partition is made as a table of its own and attached, which takes SHARE UPDATE EXCLUSIVE on the parent: neither readers
--   nor writers mind. What still takes ACCESS EXCLUSIVE is the default partition, whose bounds change. A row that goes to
--   another partition never opens that one, so completions go on; readers of the whole table wait at most for the time below.
-- * Dropping cannot do without ACCESS EXCLUSIVE on the parent: DETACH CONCURRENTLY is refused where there is a default
--   partition, and without one the first day without a partition would refuse every completion.
-- * So each of them gives up after 200 ms, is a transaction of its own, and is tried again by the next run. Partitions are made
--   two weeks ahead, so days of such runs may fail.
--
-- Each function is called as a statement of its own, and answers what came of it.

create function waybill_partition_key(parent text) returns text language plpgsql immutable as $$
begin
    case parent
        when 'job_history' then return 'finished_at';
        when 'job_logs' then return 'at';
        when 'event_log' then return 'created_at';
        when 'inbox' then return 'event_at';
        else raise exception 'not a partitioned table of Waybill: %', parent;
    end case;
end $$;

-- The partitions of a table but for its default one: [low, high).
create function waybill_partitions(parent text) returns table (child text, low timestamptz, high timestamptz)
language sql stable as $$
    select c.relname::text,
           substring(pg_get_expr(c.relpartbound, c.oid) from $r$FROM \('([^']+)'\)$r$)::timestamptz,
           substring(pg_get_expr(c.relpartbound, c.oid) from $r$TO \('([^']+)'\)$r$)::timestamptz
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = to_regclass(parent) and pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
$$;

create function waybill_midnight(day date) returns timestamptz language sql immutable as $$
    select day::timestamp at time zone 'utc'
$$;

-- `made`, `there`, `busy`, or `strays`: the default partition holds rows of that day.
create function waybill_add_partition(parent text, day date) returns text
language plpgsql set lock_timeout = '200ms' as $$
declare
    child text := parent || '_' || to_char(day, 'YYYYMMDD');
begin
    perform waybill_partition_key(parent);
    -- One caller at a time: two that make the same partition would fail each other.
    perform pg_advisory_xact_lock(hashtext('waybill_ensure_partitions'));
    if exists (select from waybill_partitions(parent) p
               where p.low < waybill_midnight(day + 1) and p.high > waybill_midnight(day)) then
        return 'there';
    end if;
    -- With its indexes, so that attaching builds none.
    execute format(
        'create table %I (like %I including defaults including constraints including storage including indexes)',
        child, parent);
    execute format(
        'alter table %I attach partition %I for values from (%L) to (%L)',
        parent, child, waybill_midnight(day), waybill_midnight(day + 1));
    return 'made';
exception
    when lock_not_available then return 'busy';
    when check_violation then return 'strays';
end $$;

-- `dropped`, `gone` or `busy`.
create function waybill_drop_partition(parent text, victim text) returns text
language plpgsql set lock_timeout = '200ms' as $$
begin
    perform pg_advisory_xact_lock(hashtext('waybill_ensure_partitions'));
    if not exists (select from waybill_partitions(parent) p where p.child = victim) then
        return 'gone';
    end if;
    execute format('drop table %I', victim);
    return 'dropped';
exception
    when lock_not_available then return 'busy';
end $$;

-- For releases before this one, which do all in one transaction.
create or replace function waybill_ensure_partitions(days_ahead integer) returns integer
language plpgsql as $$
declare
    parent text;
    made integer := 0;
begin
    foreach parent in array array['job_history', 'event_log', 'inbox', 'job_logs'] loop
        for i in -1..days_ahead loop
            case waybill_add_partition(parent, (now() at time zone 'utc')::date + i)
                when 'made' then made := made + 1;
                when 'busy' then exit;
                else null;
            end case;
        end loop;
    end loop;
    return made;
end $$;

create or replace function waybill_drop_partitions(parent text, keep_days integer) returns integer
language plpgsql as $$
declare
    victim text;
    dropped integer := 0;
begin
    perform waybill_partition_key(parent);
    for victim in
        select p.child from waybill_partitions(parent) p
        where p.high <= waybill_midnight((now() at time zone 'utc')::date - keep_days)
        order by p.low
    loop
        exit when waybill_drop_partition(parent, victim) = 'busy';
        dropped := dropped + 1;
    end loop;
    return dropped;
end $$;

-- A default partition that has filled, since nobody made partitions for longer than they reached ahead, becomes the partition
-- of the days it holds, and an empty one takes its place. No row moves, so none is out of sight for a moment: an inbox row that
-- is would let an event be handled twice. Attaching has to know that all rows lie within the days; that is proved beforehand by
-- a constraint, validated while everybody reads and writes, so that what takes the parent's lock is a matter of milliseconds.
--
-- Until the third step the constraint would refuse rows of later days. They are some days away when it is made, and it
-- is taken away again by whoever comes next, if the third step does not come.

-- First step: `bound` or `busy`.
create function waybill_bound_default(parent text, first date, last date) returns text
language plpgsql set lock_timeout = '200ms' as $$
declare
    filled text := parent || '_default';
    key text := waybill_partition_key(parent);
begin
    perform pg_advisory_xact_lock(hashtext('waybill_ensure_partitions'));
    execute format('alter table %I drop constraint if exists %I', filled, filled || '_days');
    execute format(
        'alter table %I add constraint %I check (%I >= %L and %I < %L) not valid',
        filled, filled || '_days', key, waybill_midnight(first), key, waybill_midnight(last + 1));
    return 'bound';
exception
    when lock_not_available then return 'busy';
end $$;

-- Second step: reads the whole partition. `proved` or `busy`.
create function waybill_prove_default(parent text) returns text
language plpgsql set lock_timeout = '200ms' as $$
begin
    execute format('alter table %I validate constraint %I', parent || '_default', parent || '_default_days');
    return 'proved';
exception
    when lock_not_available then return 'busy';
end $$;

-- Third step: `made` or `busy`.
create function waybill_swap_default(parent text, first date, last date) returns text
language plpgsql set lock_timeout = '200ms' as $$
declare
    filled text := parent || '_default';
    child text := format('%s_%s_%s', parent, to_char(first, 'YYYYMMDD'), to_char(last, 'YYYYMMDD'));
begin
    perform pg_advisory_xact_lock(hashtext('waybill_ensure_partitions'));
    execute format('alter table %I detach partition %I', parent, filled);
    execute format('alter table %I rename to %I', filled, child);
    execute format(
        'alter table %I attach partition %I for values from (%L) to (%L)',
        parent, child, waybill_midnight(first), waybill_midnight(last + 1));
    execute format('alter table %I drop constraint %I', child, filled || '_days');
    execute format(
        'create table %I (like %I including defaults including constraints including storage including indexes)',
        filled, parent);
    execute format('alter table %I attach partition %I default', parent, filled);
    return 'made';
exception
    when lock_not_available then return 'busy';
end $$;

-- Instead of the third step: `free` or `busy`.
create function waybill_unbound_default(parent text) returns text
language plpgsql set lock_timeout = '200ms' as $$
declare
    filled text := parent || '_default';
begin
    if exists (select from pg_constraint where conrelid = to_regclass(filled) and conname = filled || '_days') then
        execute format('alter table %I drop constraint if exists %I', filled, filled || '_days');
    end if;
    return 'free';
exception
    when lock_not_available then return 'busy';
end $$;

-- For how many days from tomorrow on (31 at most) there are partitions, and whether the default one holds rows of days that
-- should have had one. Older rows than the oldest partition are no sign of trouble: a dead letter that is retried after
-- months leaves them.
create function waybill_partition_health() returns table (parent text, days_ahead integer, strays boolean)
language plpgsql stable as $$
declare
    today date := (now() at time zone 'utc')::date;
begin
    foreach parent in array array['job_history', 'event_log', 'inbox', 'job_logs'] loop
        -- Once for all days: it is asked for every few seconds.
        with parts as materialized (select low, high from waybill_partitions(parent))
        select coalesce(min(d), 32) - 1 into days_ahead
        from generate_series(1, 31) d
        where not exists (select from parts p
                          where p.low <= waybill_midnight(today + d) and p.high > waybill_midnight(today + d));
        execute format(
            'select exists (select from %I where %I >= coalesce((select min(low) from waybill_partitions(%L)), ''-infinity''))',
            parent || '_default', waybill_partition_key(parent), parent)
        into strays;
        return next;
    end loop;
end $$;
