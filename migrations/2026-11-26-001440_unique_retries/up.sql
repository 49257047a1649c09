-- What a unique job needs to be unique again when somebody retries it: its key goes with it into the history or the dead
-- letters, and how long it kept its slot is read off the slot itself, in the moment in which the job leaves.

alter table job_history
    add column unique_key   text,
    add column unique_scope text;   -- of its slot when it left: `waiting`, `live` or `window`
alter table dead_letters
    add column unique_key   text,
    add column unique_scope text;

-- Before the slot is given up, which a trigger on `jobs` does at the end of the statement. A job that has no slot any more was
-- unique as long as it waited for its first attempt, or in a window that is over: it is like one that waits. A trigger and not
-- a part of the statements, of which there are eight, and jobs without a key pay nothing but the test of the WHEN clause.
create function waybill_keep_unique_scope() returns trigger language plpgsql as $$
begin
    select u.scope into new.unique_scope from job_uniques u where u.key = new.unique_key and u.job_id = new.id;
    new.unique_scope := coalesce(new.unique_scope, 'waiting');
    return new;
end $$;
create trigger job_history_unique_scope before insert on job_history for each row
    when (new.unique_key is not null and new.unique_scope is null) execute function waybill_keep_unique_scope();
create trigger dead_letters_unique_scope before insert on dead_letters for each row
    when (new.unique_key is not null and new.unique_scope is null) execute function waybill_keep_unique_scope();
