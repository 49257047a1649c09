create extension if not exists pg_trgm;

create table categories (
    id         uuid primary key,
    parent_id  uuid references categories (id),    -- restrict: a parent with children is not deleted
    slug       text not null unique,
    name       text not null,
    position   integer not null default 0,
    image_url  text,
    active     boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (parent_id <> id)
);
create index categories_by_parent on categories (parent_id, position);

-- No cycles, whoever writes: walks up from the new parent. The advisory lock keeps two moves from crossing.
create function waybill_category_no_cycle() returns trigger language plpgsql as $$
begin
    if new.parent_id is null then
        return new;
    end if;
    perform pg_advisory_xact_lock(hashtext('waybill_category_tree'));
    if exists (
        with recursive up(id) as (
            select new.parent_id
            union
            select c.parent_id from categories c join up on c.id = up.id where c.parent_id is not null
        )
        select 1 from up where id = new.id
    ) then
        raise exception 'category % would be its own ancestor', new.id
            using errcode = 'check_violation', constraint = 'categories_no_cycle';
    end if;
    return new;
end $$;
create trigger categories_no_cycle before insert or update of parent_id on categories
    for each row execute function waybill_category_no_cycle();

create table products (
    id           uuid primary key,
    slug         text not null unique,
    name         text not null,
    description  text not null default '',
    brand        text,
    status       text not null default 'draft' check (status in ('draft', 'active', 'inactive', 'discontinued')),
    featured     boolean not null default false,
    attributes   jsonb not null default '{}',
    tax_class    text not null default 'standard',
    weight_grams integer check (weight_grams >= 0),
    length_mm    integer check (length_mm >= 0),
    width_mm     integer check (width_mm >= 0),
    height_mm    integer check (height_mm >= 0),
    -- Kept by whatever writes variants, in the same transaction: sorting and filtering by price needs an index.
    price_min    numeric(19, 4),
    price_max    numeric(19, 4),
    version      bigint not null default 1,        -- +1 with every change of the product or its variants
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now()
);
create index products_newest on products (created_at desc, id desc) where status = 'active';
create index products_by_price on products (price_min, id) where status = 'active';
create index products_by_name on products (name, id) where status = 'active';
create index products_by_brand on products (lower(brand), created_at desc, id desc) where status = 'active' and brand is not null;

create table product_categories (
    product_id  uuid not null references products (id) on delete cascade,
    category_id uuid not null references categories (id),
    primary key (product_id, category_id)
);
create index product_categories_by_category on product_categories (category_id);

create table product_options (
    product_id uuid not null references products (id) on delete cascade,
    name       text not null,
    position   integer not null default 0,
    primary key (product_id, name)
);

create table variants (
    id               uuid primary key,
    product_id       uuid not null references products (id) on delete cascade,
    sku              text not null unique,
    title            text not null default '',
    price            numeric(19, 4) not null check (price >= 0),
    currency         char(3) not null,
    compare_at_price numeric(19, 4) check (compare_at_price >= 0),
    option_values    jsonb not null default '{}',
    position         integer not null default 0,
    active           boolean not null default true,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now()
);
create index variants_by_product on variants (product_id, position);

-- What the Postgres search engine reads; written by the indexing pipeline, guarded by version.
create table product_search (
    product_id   uuid primary key references products (id) on delete cascade,
    version      bigint not null,
    stock_version bigint not null default 0,       -- sum of the stock levels' versions: the second part of the guard
    name         text not null,
    brand        text,
    status       text not null,
    category_ids uuid[] not null default '{}',     -- with all ancestors
    price_min    numeric(19, 4),
    price_max    numeric(19, 4),
    in_stock     boolean not null,
    words        text not null,                    -- name, SKUs, brand: what trigrams look at
    document     tsvector not null,
    created_at   timestamptz not null,
    indexed_at   timestamptz not null default now()
);
create index product_search_document on product_search using gin (document);
create index product_search_words on product_search using gin (words gin_trgm_ops);
create index product_search_categories on product_search using gin (category_ids);
