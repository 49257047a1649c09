create table mails (
    id             uuid primary key,
    dedupe_key     text not null unique,           -- order_confirmed:<order id>, verify_email:<user id>:<n>
    template       text not null,
    recipient      text not null,
    subject        text,
    correlation_id uuid,
    status         text not null default 'queued' check (status in ('queued', 'sent', 'failed')),
    message_id     text,
    error          text,
    context        jsonb not null default '{}',    -- ids the template needs; never secrets
    created_at     timestamptz not null default now(),
    sent_at        timestamptz
);
create index mails_by_correlation on mails (correlation_id) where correlation_id is not null;

create table webhook_endpoints (
    id             uuid primary key,
    url            text not null,
    description    text not null default '',
    event_types    text[] not null,                -- topics; empty = all
    secret         bytea not null,                 -- sealed with the deployment's encryption key
    active         boolean not null default true,
    created_by     uuid references users (id),
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now()
);

create table webhook_deliveries (
    id             uuid primary key,
    endpoint_id    uuid not null references webhook_endpoints (id) on delete cascade,
    event_id       uuid not null,
    topic          text not null,
    correlation_id uuid,
    body           text not null,                  -- signed as it is: never rendered twice
    status         text not null default 'queued' check (status in ('queued', 'delivered', 'failed')),
    attempts       integer not null default 0,
    created_at     timestamptz not null default now(),
    finished_at    timestamptz,
    unique (endpoint_id, event_id)
);
create index webhook_deliveries_by_correlation on webhook_deliveries (correlation_id) where correlation_id is not null;

create table webhook_attempts (
    delivery_id uuid not null references webhook_deliveries (id) on delete cascade,
    attempt     integer not null,
    at          timestamptz not null default now(),
    status      smallint,                          -- null: no answer
    duration_ms integer not null,
    body        text,                              -- first 1,000 characters of the answer
    error       text,
    primary key (delivery_id, attempt)
);

create table imports (
    id           uuid primary key,
    kind         text not null check (kind in ('products', 'stock')),
    status       text not null default 'queued' check (status in ('queued', 'running', 'completed', 'failed')),
    filename     text not null,
    object       text not null,                    -- key in the object store
    size_bytes   bigint not null,
    created_by   uuid references users (id),
    job_id       uuid not null,
    -- Resume point: everything before it is in the database. Moves in the transaction that wrote the rows.
    rows_done    bigint not null default 0,
    byte_offset  bigint not null default 0,
    rows_created bigint not null default 0,
    rows_updated bigint not null default 0,
    rows_unchanged bigint not null default 0,
    rows_failed  bigint not null default 0,
    error        text,
    created_at   timestamptz not null default now(),
    started_at   timestamptz,
    finished_at  timestamptz
);
create index imports_newest on imports (id desc);

create table import_errors (
    import_id  uuid not null references imports (id) on delete cascade,
    row_number bigint not null,                    -- as a spreadsheet counts: the header is row 1
    field      text not null,
    value      text not null,
    reason     text not null,
    primary key (import_id, row_number, field)
);
