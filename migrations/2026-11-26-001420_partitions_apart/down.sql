drop function waybill_partition_health();
drop function waybill_unbound_default(text);
drop function waybill_swap_default(text, date, date);
drop function waybill_prove_default(text);
drop function waybill_bound_default(text, date, date);

-- As in the flows' migration.
create or replace function waybill_ensure_partitions(days_ahead integer) returns integer
language plpgsql as $$
declare
    parent text;
    day date;
    child text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('waybill_ensure_partitions'));
    foreach parent in array array['job_history', 'event_log', 'inbox', 'job_logs'] loop
        for i in -1..days_ahead loop
            day := (now() at time zone 'utc')::date + i;
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            if to_regclass(child) is null then
                begin
                    execute format(
                        'create table %I partition of %I for values from (%L) to (%L)',
                        child, parent,
                        day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
                    made := made + 1;
                exception when check_violation then
                    null;
                end;
            end if;
        end loop;
    end loop;
    return made;
end $$;

create or replace function waybill_drop_partitions(parent text, keep_days integer) returns integer
language plpgsql as $$
declare
    child text;
    dropped integer := 0;
begin
    if parent not in ('job_history', 'event_log', 'inbox', 'job_logs') then
        raise exception 'not a partitioned table of Waybill: %', parent;
    end if;
    for child in
        select c.relname from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        join pg_class p on p.oid = i.inhparent
        where p.relname = parent
          and c.relname ~ ('^' || parent || '_[0-9]{8}$')
          and to_date(right(c.relname, 8), 'YYYYMMDD')
              < (now() at time zone 'utc')::date - keep_days
    loop
        execute format('drop table %I', child);
        dropped := dropped + 1;
    end loop;
    return dropped;
end $$;

drop function waybill_drop_partition(text, text);
drop function waybill_add_partition(text, date);
drop function waybill_midnight(date);
drop function waybill_partitions(text);
drop function waybill_partition_key(text);
