create table carts (
    id          uuid primary key,
    customer_id uuid references users (id),
    token_hash  bytea,                             -- SHA-256 of the guest's cart token
    currency    char(3) not null,
    status      text not null default 'open' check (status in ('open', 'checked_out', 'merged', 'expired')),
    version     bigint not null default 1,
    expires_at  timestamptz not null,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    check (customer_id is not null or token_hash is not null)
);
create unique index carts_one_open_per_customer on carts (customer_id) where status = 'open' and customer_id is not null;
create index carts_expiring on carts (expires_at) where status = 'open';

create table cart_lines (
    cart_id    uuid not null references carts (id) on delete cascade,
    variant_id uuid not null references variants (id) on delete cascade,
    quantity   integer not null check (quantity > 0),
    added_at   timestamptz not null default now(),
    primary key (cart_id, variant_id)
);

create sequence order_numbers start 100001;

create table orders (
    id               uuid primary key,
    number           bigint not null unique default nextval('order_numbers'),
    customer_id      uuid references users (id),
    guest_token_hash bytea,                        -- SHA-256 of the token that lets a guest read the order
    email            text not null,
    -- One order per cart, however many checkouts race.
    cart_id          uuid unique references carts (id),
    reference        text,                         -- the buyer's own (purchase order, invoice number)
    status           text not null default 'pending'
                     check (status in ('pending', 'confirmed', 'processing', 'shipped', 'delivered', 'cancelled', 'refunded')),
    -- Where the checkout saga stands. See docs/state-machines.md.
    step             text not null default 'accepted'
                     check (step in ('accepted', 'reserved', 'authorized', 'captured', 'completed', 'compensating', 'compensated')),
    -- Why it stands there, for people: waiting for stock, declined: insufficient funds, ...
    reason_code      text,
    reason           text,
    currency         char(3) not null,
    subtotal         numeric(19, 4) not null check (subtotal >= 0),
    total            numeric(19, 4) not null check (total >= 0),
    shipping_address jsonb not null,
    billing_address  jsonb not null,
    reserved_until   timestamptz,
    version          bigint not null default 1,    -- +1 with every change: the ETag
    placed_at        timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    confirmed_at     timestamptz,
    cancelled_at     timestamptz,
    check ((status = 'pending') = (step not in ('completed', 'compensated'))),
    check (status <> 'cancelled' or reason_code is not null),
    check (status = 'pending' or (confirmed_at is not null) or (cancelled_at is not null))
);
create index orders_by_customer on orders (customer_id, id desc) where customer_id is not null;
create index orders_newest on orders (id desc);
-- By id, not by reserved_until: the checkout's updates then touch no indexed column and stay within the page.
create index orders_pending on orders (id) where status = 'pending';
create index orders_by_reference on orders (reference) where reference is not null;
alter table orders set (fillfactor = 70);

create table order_lines (
    order_id      uuid not null references orders (id) on delete cascade,
    position      integer not null,
    variant_id    uuid not null,                   -- no foreign key: a line outlives its product
    product_id    uuid not null,
    sku           text not null,
    name          text not null,
    variant_title text not null,
    quantity      integer not null check (quantity > 0),
    unit_price    numeric(19, 4) not null check (unit_price >= 0),
    agreed        boolean not null default false,  -- an agreed price, not the catalogue's
    total         numeric(19, 4) not null check (total >= 0),
    primary key (order_id, position)
);

-- Every move of the order, in order: what the trail starts from.
create table order_history (
    order_id uuid not null references orders (id) on delete cascade,
    version  bigint not null,                      -- the order's version after the move
    at       timestamptz not null default now(),
    status   text not null,
    step     text not null,
    reason_code text,
    reason   text,
    job_id   uuid,
    attempt  smallint,
    actor    text not null,                        -- customer, guest, api_key:<id>, admin:<id>, system
    primary key (order_id, version)
);

-- Written at the end of the transaction that did the work, so a key without an answer does not exist. While the work is
-- being done an advisory lock of that transaction stands for the key.
create table idempotency_keys (
    scope        text not null,                    -- who: user:<id>, cart:<id>, api_key:<id>
    key          text not null,
    fingerprint  bytea not null,                   -- SHA-256 of method, path and body
    status       smallint not null,
    location     text,
    body         jsonb,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz not null,
    primary key (scope, key)
);
create index idempotency_keys_expiring on idempotency_keys (expires_at);
