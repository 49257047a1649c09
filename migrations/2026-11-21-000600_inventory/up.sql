create table locations (
    id         uuid primary key,
    code       text not null unique,
    name       text not null,
    priority   integer not null default 0,         -- smaller is asked first when stock is reserved
    active     boolean not null default true,
    created_at timestamptz not null default now()
);
insert into locations (id, code, name) values ('00000000-0000-7000-8000-000000000001', 'main', 'Main warehouse');

create table stock_levels (
    variant_id    uuid not null references variants (id) on delete cascade,
    location_id   uuid not null references locations (id),
    on_hand       integer not null default 0,
    reserved      integer not null default 0 check (reserved >= 0),
    reorder_level integer not null default 0 check (reorder_level >= 0),
    backorder     boolean not null default false,
    -- Source sequence of the newest feed applied: an older feed never overwrites a newer one.
    feed_seq      bigint not null default 0,
    version       bigint not null default 1,
    updated_at    timestamptz not null default now(),
    primary key (variant_id, location_id),
    -- Never oversold: what the database itself refuses, no code can do.
    constraint stock_never_oversold check (backorder or (on_hand >= 0 and reserved <= on_hand))
);
alter table stock_levels set (fillfactor = 70);

-- Append-only. Per variant and location the deltas sum to the level.
create table stock_ledger (
    id             uuid primary key,
    variant_id     uuid not null,
    location_id    uuid not null,
    kind           text not null
                   check (kind in ('purchase', 'sale', 'return', 'adjustment', 'reservation', 'release')),
    on_hand_delta  integer not null,
    reserved_delta integer not null,
    order_id       uuid,
    reference      text,
    created_at     timestamptz not null default now(),
    check (case kind
        when 'reservation' then on_hand_delta = 0 and reserved_delta > 0
        when 'release'     then on_hand_delta = 0 and reserved_delta < 0
        when 'sale'        then on_hand_delta < 0 and reserved_delta = on_hand_delta
        when 'purchase'    then on_hand_delta > 0 and reserved_delta = 0
        when 'return'      then on_hand_delta > 0 and reserved_delta = 0
        else reserved_delta = 0 end)
);
-- An order reserves, sells and releases a variant once: a repeated step is refused here.
create unique index stock_ledger_once on stock_ledger (order_id, variant_id, location_id, kind)
    where order_id is not null and kind in ('reservation', 'sale', 'release');
create index stock_ledger_by_variant on stock_ledger (variant_id, location_id, id);
