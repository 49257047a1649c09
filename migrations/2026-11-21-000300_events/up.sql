-- Events not yet handed on. Written in the transaction that makes the fact true; the relay publishes in seq order
-- per shard and moves the row to event_log after the broker's confirm (or after the Postgres lane took it over).
create table outbox (
    seq            bigint generated always as identity primary key,
    id             uuid not null,
    topic          text not null,
    version        smallint not null default 1,
    aggregate      text not null,                  -- order, product, ...
    aggregate_id   uuid not null,
    -- All events of an aggregate share a shard; a shard is relayed by one relay at a time, so their order holds.
    shard          smallint not null check (shard between 0 and 15),
    correlation_id uuid,
    causation_id   uuid,
    traceparent    text,
    payload        jsonb not null,
    created_at     timestamptz not null default now()
);
create index outbox_by_shard on outbox (shard, seq);
create index outbox_by_correlation on outbox (correlation_id) where correlation_id is not null;
alter table outbox set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
                        autovacuum_vacuum_cost_delay = 0);

create table event_log (
    seq            bigint not null,
    id             uuid not null,
    topic          text not null,
    version        smallint not null,
    aggregate      text not null,
    aggregate_id   uuid not null,
    shard          smallint not null,
    correlation_id uuid,
    causation_id   uuid,
    traceparent    text,
    payload        jsonb not null,
    created_at     timestamptz not null,
    published_at   timestamptz not null default now(),
    lane           text not null check (lane in ('amqp', 'postgres'))
) partition by range (created_at);
create index event_log_by_id on event_log (id);
create index event_log_by_topic on event_log (topic, created_at);
create index event_log_by_correlation on event_log (correlation_id) where correlation_id is not null;
create table event_log_default partition of event_log default;

-- What each pipeline has handled. The row is written in the transaction of the effect; its key refuses a second.
create table inbox (
    pipeline   text not null,
    event_id   uuid not null,
    event_at   timestamptz not null,               -- the event's created_at: travels with the message
    lane       text not null check (lane in ('amqp', 'postgres')),
    handled_at timestamptz not null default now(),
    primary key (pipeline, event_id, event_at)
) partition by range (event_at);
create index inbox_by_event on inbox (event_id);
create table inbox_default partition of inbox default;

select waybill_ensure_partitions(3);
