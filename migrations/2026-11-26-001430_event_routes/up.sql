-- Which pipeline wants which topic, as every worker says when it starts and every ten minutes after that. A relay of the
-- release before goes by its own code and by these, so that it hands on what only the newer release knows.
create table event_routes (
    topic       text not null,
    pipeline    text not null,
    -- A route that nobody has declared for a day is no more.
    declared_at timestamptz not null default now(),
    primary key (topic, pipeline)
);

-- The log in the order in which it was written: for whoever reads it from a place on, and to look at no more than so many.
-- Not concurrently: only relays write here, and while they wait, events wait in the outbox; a second per million rows.
create index event_log_by_place on event_log (published_at, seq);
