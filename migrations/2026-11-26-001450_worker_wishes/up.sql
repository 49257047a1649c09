-- What operators want of one worker, and what it says of itself.

alter table workers
    -- Since when an operator wants it to claim nothing more, and who; its heartbeat reads it. It says `quiet` once it does so.
    add column quiet_at timestamptz,
    add column quiet_by text,
    -- Per queue, as of its last word: [{"queue", "configured", "now"}].
    add column places   jsonb not null default '[]',
    drop constraint workers_state_check,
    add constraint workers_state_check check (state in ('running', 'quiet', 'draining'));

-- What was said to one worker goes with it, by whatever path it goes.
create function waybill_worker_gone() returns trigger language plpgsql as $$
begin
    delete from queue_places where worker_id = old.id;
    return null;
end $$;
create trigger workers_gone after delete on workers for each row execute function waybill_worker_gone();

delete from queue_places p
where p.worker_id <> '00000000-0000-0000-0000-000000000000'
  and not exists (select from workers w where w.id = p.worker_id);

-- A row that is up says nothing, and may be a slip of the pen: those that jobs need are known from elsewhere.
delete from dependencies where down_since is null;
