-- Jobs that may be what kills their workers.

alter table jobs
    -- Workers that ended without an answer while it ran, since it was last enqueued or revived. From the second on it is a
    -- suspect: held (`suspect`) and let go one at a time, so that the next loss tells who it was.
    add column losses smallint not null default 0;

-- Few, if any: asked before one more is let go.
create index jobs_suspects on jobs (queue) where losses >= 2;
