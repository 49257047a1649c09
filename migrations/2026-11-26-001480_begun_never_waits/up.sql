-- A claim of many jobs must not stand still for one whose slot somebody has locked: by enqueueing another with its key, in a
-- transaction that takes its time. Such a slot is kept a little longer: until the job is over, when it is given up in any case.
create or replace function waybill_job_begun() returns trigger language plpgsql as $$
begin
    delete from job_uniques u
    where u.key = any (array(
            select s.key from job_uniques s
            where s.key = old.unique_key and s.job_id = old.id and s.scope = 'waiting' for update skip locked))
      and (u.until is null or u.until <= clock_timestamp());
    if not found then
        update job_uniques u set scope = 'window'
        where u.key = any (array(
            select s.key from job_uniques s
            where s.key = old.unique_key and s.job_id = old.id and s.scope = 'waiting' for update skip locked));
    end if;
    return null;
end $$;
