create table payments (
    id                uuid primary key,
    order_id          uuid not null references orders (id),
    gateway           text not null,
    method_token      text not null,               -- the gateway's token; no card number ever reaches us
    amount            numeric(19, 4) not null check (amount >= 0),
    currency          char(3) not null,
    status            text not null default 'pending'
                      check (status in ('pending', 'authorized', 'captured', 'voided', 'declined', 'failed',
                                        'partially_refunded', 'refunded')),
    authorization_ref text,
    capture_ref       text,
    captured          numeric(19, 4) not null default 0,
    refunded          numeric(19, 4) not null default 0,
    decline_code      text,
    failure           text,
    version           bigint not null default 1,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    constraint payments_never_overcaptured check (captured >= 0 and captured <= amount),
    constraint payments_never_overrefunded check (refunded >= 0 and refunded <= captured)
);
-- One payment that may take money per order.
create unique index payments_one_live_per_order on payments (order_id)
    where status not in ('declined', 'failed', 'voided');
create index payments_by_order on payments (order_id);
create unique index payments_by_authorization on payments (gateway, authorization_ref) where authorization_ref is not null;

-- The effect ledger: one row per outside effect, written before the call and settled after it. The key goes to the
-- provider as its idempotency key; an unsettled row is resolved by asking the provider, never by doing it again.
create table effects (
    key            text primary key,               -- order:<id>:authorize, order:<id>:capture, ...
    kind           text not null,
    provider       text not null,
    correlation_id uuid,
    state          text not null default 'started' check (state in ('started', 'succeeded', 'rejected')),
    request        jsonb not null,
    response       jsonb,
    -- One entry per call or question to the provider: at, ms, outcome, job_id, attempt, error.
    calls          jsonb not null default '[]',
    started_at     timestamptz not null default now(),
    finished_at    timestamptz,
    check ((state = 'started') = (finished_at is null))
);
create index effects_by_correlation on effects (correlation_id) where correlation_id is not null;
create index effects_open on effects (started_at) where state = 'started';

-- Inbound webhooks, raw, once per event id.
create table gateway_events (
    gateway        text not null,
    event_id       text not null,
    kind           text not null,
    payload        jsonb not null,
    correlation_id uuid,
    received_at    timestamptz not null default now(),
    handled_at     timestamptz,
    outcome        text,
    primary key (gateway, event_id)
);
create index gateway_events_by_correlation on gateway_events (correlation_id) where correlation_id is not null;
