create or replace function waybill_job_begun() returns trigger language plpgsql as $$
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
