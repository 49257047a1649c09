-- Large imports are cut into parts that run side by side.

-- The workflow that imports the stretch of the file behind byte_offset; none while the import's own job reads it.
alter table imports add column flow_id uuid;

-- A part of that stretch: rows of some keys, in the order of the file. Its counters stay here until the stretch is done, so
-- that no two parts wait for one row; whoever asks how far an import is adds them up.
create table import_parts (
    import_id   uuid not null references imports (id) on delete cascade,
    part        integer not null,
    prefix      text not null,                     -- keys of its files in the object store, before their number
    sizes       bigint[] not null,                 -- bytes of its files
    -- Resume point in its files, one behind the other. Moves in the transaction that wrote the rows.
    place       bigint not null default 0,
    bytes_done  bigint not null default 0,         -- of the uploaded file
    rows_done   bigint not null default 0,
    rows_created bigint not null default 0,
    rows_updated bigint not null default 0,
    rows_unchanged bigint not null default 0,
    rows_failed bigint not null default 0,
    primary key (import_id, part)
);
