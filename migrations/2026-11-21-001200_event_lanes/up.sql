-- Which lane each shard of the outbox takes. The relay that owns the shard (by a session advisory lock) writes it.
create table event_shards (
    shard      smallint primary key check (shard between 0 and 15),
    lane       text not null default 'postgres' check (lane in ('amqp', 'postgres')),
    reason     text,
    changed_at timestamptz not null default now(),
    -- What was published to the broker up to here is handled by all its pipelines, or is a job or a dead letter. When the
    -- lane turns to Postgres, what is later and not handled is handed over first, so that nothing overtakes it.
    settled_at timestamptz not null default now()
);
insert into event_shards (shard) select generate_series(0, 15);

-- The pipelines an event was handed to when it left the outbox.
alter table event_log add column pipelines text[] not null default '{}';
-- Rows are appended in the order of published_at, so a block range index finds the newest at next to no cost.
create index event_log_by_published on event_log using brin (published_at)
    with (pages_per_range = 16, autosummarize = on);

-- The id of the job that carries an event to a pipeline on the Postgres lane. Jobs of one partition key run in id order,
-- so the event's place in the outbox leads: 60 bits of seq around the version (8, free form), then 60 bits of a hash, so
-- that no other event ever has the same. Whoever enqueues the event, and however often, it is one job.
create function event_job_id(pipeline text, seq bigint, event_id uuid) returns uuid
language sql immutable parallel safe as $$
    select (lpad(to_hex(seq >> 12), 12, '0') || '8' || lpad(to_hex(seq & 4095), 3, '0') || '8'
            || substr(encode(sha256(convert_to(pipeline || ' ' || event_id::text, 'UTF8')), 'hex'), 1, 15))::uuid
$$;

-- An event as it travels: the body of the message, and the payload of the job.
create function event_envelope(id uuid, topic text, version smallint, aggregate text, aggregate_id uuid,
    created_at timestamptz, correlation_id uuid, causation_id uuid, traceparent text, payload jsonb) returns jsonb
language sql stable parallel safe as $$
    select jsonb_strip_nulls(jsonb_build_object(
               'id', id, 'topic', topic, 'version', version, 'aggregate', aggregate, 'aggregate_id', aggregate_id,
               'created_at', to_char(created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'correlation_id', correlation_id, 'causation_id', causation_id, 'traceparent', traceparent))
           || jsonb_build_object('payload', payload)
$$;
