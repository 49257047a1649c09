//! The migrations against what the code believes of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use diesel::{Connection as _, QueryableByName, sql_types::Text};
use diesel_async::{
    AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _,
    async_connection_wrapper::AsyncConnectionWrapper,
};
use diesel_migrations::MigrationHarness as _;
use waybill_jobs::testing::TestDatabase;
use waybill_schema as schema;

const MACHINES: &str = include_str!("../../../docs/state-machines.md");
const TABLES: &str = include_str!("../../../schema/src/tables.rs");

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// The only column, named `line`, of a query's rows.
async fn lines(database: &TestDatabase, query: &str) -> anyhow::Result<BTreeSet<String>> {
    let rows: Vec<Line> = diesel::sql_query(query).load(&mut database.conn().await).await?;
    Ok(rows.into_iter().map(|row| row.line).collect())
}

/// `table.column: Type` of every column that `tables.rs` declares.
fn declared() -> BTreeSet<String> {
    let mut declared = BTreeSet::new();
    let mut table = "";
    for line in TABLES.lines().map(str::trim) {
        if let Some((name, _)) = line.strip_suffix(") {").and_then(|l| l.split_once(" (")) {
            table = name;
        } else if let Some((column, kind)) = line.strip_suffix(',').and_then(|l| l.split_once(" -> ")) {
            declared.insert(format!("{table}.{column}: {kind}"));
        }
    }
    declared
}

#[tokio::test]
async fn the_declared_tables_are_the_migrated_ones() -> anyhow::Result<()> {
    let database = TestDatabase::create().await;
    let known = declared();
    let tables: BTreeSet<&str> = known.iter().filter_map(|l| l.split('.').next()).collect();
    ensure!(tables.len() > 30, "tables.rs was not understood: {tables:?}");
    let migrated = lines(
        &database,
        "select c.relname || '.' || a.attname || ': ' || case when a.attnotnull then t.name
                    else 'Nullable<' || t.name || '>' end as line
         from pg_class c
         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         cross join lateral (select case format_type(a.atttypid, null)
                when 'uuid' then 'Uuid' when 'text' then 'Text' when 'bytea' then 'Bytea'
                when 'jsonb' then 'Jsonb' when 'boolean' then 'Bool' when 'character' then 'Bpchar'
                when 'smallint' then 'SmallInt' when 'integer' then 'Integer' when 'bigint' then 'BigInt'
                when 'numeric' then 'Numeric' when 'double precision' then 'Double'
                when 'timestamp with time zone' then 'Timestamptz'
                when 'text[]' then 'Array<Text>' when 'bigint[]' then 'Array<BigInt>' when 'uuid[]' then 'Array<Uuid>'
                else format_type(a.atttypid, null) end) t (name)
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
           and c.relname <> '__diesel_schema_migrations'",
    )
    .await?;
    // A table that only written-out SQL touches need not be declared; a column of a declared one must be.
    let of_declared: BTreeSet<String> = migrated
        .into_iter()
        .filter(|line| line.split('.').next().is_some_and(|table| tables.contains(table)))
        // A search engine's own type; nothing reads it back.
        .filter(|line| !line.ends_with("tsvector"))
        .collect();
    let wrong: Vec<_> = known.difference(&of_declared).collect();
    let missing: Vec<_> = of_declared.difference(&known).collect();
    ensure!(
        wrong.is_empty() && missing.is_empty(),
        "not so in the database: {wrong:#?}, not declared: {missing:#?}"
    );
    Ok(())
}

/// Everything of the schema but the partitions of days, whose names depend on when they were made.
const STRUCTURE: &str = r"
    select format('column %s.%s %s %s %s', table_name, column_name, udt_name, is_nullable, column_default) as line
    from information_schema.columns where table_schema = 'public' and table_name !~ '_[0-9]{8}$'
    union all
    select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    from pg_constraint where connamespace = 'public'::regnamespace and conrelid::regclass::text !~ '_[0-9]{8}$'
    union all
    select 'index ' || indexdef from pg_indexes where schemaname = 'public' and tablename !~ '_[0-9]{8}$'
    union all
    select 'trigger ' || pg_get_triggerdef(t.oid) from pg_trigger t where not tgisinternal
    union all
    select 'sequence ' || sequencename from pg_sequences where schemaname = 'public'
    union all
    select 'function ' || pg_get_functiondef(p.oid) from pg_proc p
    where pronamespace = 'public'::regnamespace and prokind = 'f'
      and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')";

/// Applies (`true`) or reverts one migration.
async fn step(url: &str, up: bool) -> anyhow::Result<String> {
    let url = url.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut conn = AsyncConnectionWrapper::<AsyncPgConnection>::establish(&url)?;
        let moved = if up {
            conn.run_next_migration(schema::db::MIGRATIONS)
        } else {
            conn.revert_last_migration(schema::db::MIGRATIONS)
        };
        moved.map(|version| version.to_string()).map_err(|error| anyhow::anyhow!("{error}"))
    })
    .await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_migration_is_undone_by_its_down() -> anyhow::Result<()> {
    let database = TestDatabase::create().await;
    let all = database.count("select count(*) as n from __diesel_schema_migrations").await;
    for _ in 0..all {
        step(database.url(), false).await?;
    }
    // What stood before each.
    let mut before = Vec::new();
    for _ in 0..all {
        before.push(lines(&database, STRUCTURE).await?);
        step(database.url(), true).await?;
    }
    let left: Vec<_> = before[0].iter().filter(|line| !line.contains("__diesel_schema_migrations")).collect();
    ensure!(left.is_empty(), "after all downs there is still {left:#?}");
    let whole = lines(&database, STRUCTURE).await?;
    for expected in before.iter().rev() {
        let version = step(database.url(), false).await?;
        let now = lines(&database, STRUCTURE).await?;
        let differs: Vec<_> = now.symmetric_difference(expected).collect();
        ensure!(differs.is_empty(), "{version} is not undone: {differs:#?}");
    }
    for _ in 0..all {
        step(database.url(), true).await?;
    }
    ensure!(lines(&database, STRUCTURE).await? == whole, "another schema the second time");
    Ok(())
}

/// `table.column` to the spellings that its CHECK constraint knows.
async fn spellings(database: &TestDatabase) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let checks = lines(
        database,
        "select c.conrelid::regclass || '.' || a.attname || '|' || pg_get_constraintdef(c.oid) as line
         from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
         where c.contype = 'c' and cardinality(c.conkey) = 1 and c.connamespace = 'public'::regnamespace
           and pg_get_constraintdef(c.oid) like '%ARRAY%'",
    )
    .await?;
    Ok(checks
        .iter()
        .filter_map(|line| line.split_once('|'))
        .map(|(column, check)| {
            (column.to_owned(), check.split('\'').skip(1).step_by(2).map(str::to_owned).collect())
        })
        .collect())
}

#[tokio::test]
async fn the_checks_know_the_spellings_of_the_enums_and_no_others() -> anyhow::Result<()> {
    macro_rules! known {
        ($($column:literal: $kind:path),+ $(,)?) => {
            [$(($column, <$kind>::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>())),+]
        };
    }
    let database = TestDatabase::create().await;
    let checked = spellings(&database).await?;
    for (column, values) in known! {
        "orders.status": schema::OrderStatus,
        "orders.step": schema::CheckoutStep,
        "payments.status": schema::PaymentStatus,
        "effects.state": schema::effects::EffectState,
        "mails.status": schema::mails::MailStatus,
        "webhook_deliveries.status": schema::webhooks::deliveries::DeliveryStatus,
        "imports.kind": schema::imports::ImportKind,
        "imports.status": schema::imports::ImportStatus,
        "carts.status": schema::carts::CartStatus,
        "products.status": schema::catalogue::ProductStatus,
        "users.role": schema::users::UserRole,
        "users.status": schema::users::UserStatus,
        "sessions.revoked_reason": schema::users::RevokedReason,
        "schedules.missed": schema::schedules::Missed,
        "schedules.overlap": schema::schedules::Overlap,
    } {
        let values: BTreeSet<String> = values.into_iter().map(str::to_owned).collect();
        ensure!(
            checked.get(column) == Some(&values),
            "{column}: {values:?} in Rust, {:?} in SQL",
            checked.get(column)
        );
    }
    // A job's states are spread over three tables; `dead` is a place, not a spelling. The machine is drawn.
    let live = checked.get("jobs.state").context("jobs.state")?;
    let ended = checked.get("job_history.state").context("job_history.state")?;
    let states: BTreeSet<String> = live.union(ended).cloned().chain(["dead".to_owned()]).collect();
    let drawn: BTreeSet<String> =
        drawn(MACHINES, "Job\n").into_iter().flat_map(|(from, to)| [from, to]).collect();
    ensure!(states == drawn, "{states:?} in SQL, {drawn:?} drawn");
    Ok(())
}

/// The moves drawn in a section of the document, terminal states included.
fn drawn(document: &str, section: &str) -> BTreeSet<(String, String)> {
    let text = document.split("\n## ").find(|part| part.starts_with(section)).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().split_once(" --> "))
        .map(|(from, to)| (from.to_owned(), to.split(':').next().unwrap_or(to).trim().to_owned()))
        .filter(|(from, to)| from != "[*]" && to != "[*]")
        .collect()
}

#[test]
fn the_machines_are_as_drawn() {
    macro_rules! moves {
        ($kind:path) => {
            <$kind>::ALL
                .iter()
                .flat_map(|from| from.legal_moves().iter().map(move |to| (from.to_string(), to.to_string())))
                .collect::<BTreeSet<_>>()
        };
    }
    assert_eq!(drawn(MACHINES, "Order\n"), moves!(schema::OrderStatus));
    assert_eq!(drawn(MACHINES, "Checkout saga\n"), moves!(schema::CheckoutStep));
    assert_eq!(drawn(MACHINES, "Payment\n"), moves!(schema::PaymentStatus));
}

/// What no bug may do, tried with SQL of the worst intent.
#[tokio::test]
async fn the_database_refuses_what_must_never_be() -> anyhow::Result<()> {
    let database = TestDatabase::create().await;
    database
        .conn()
        .await
        .batch_execute(
            "insert into products (id, slug, name) values ('00000000-0000-7000-8000-00000000000a', 'mug', 'Mug');
             insert into variants (id, product_id, sku, price, currency)
             values ('00000000-0000-7000-8000-00000000000b', '00000000-0000-7000-8000-00000000000a', 'MUG', 1, 'GBP');
             insert into stock_levels (variant_id, location_id, on_hand)
             values ('00000000-0000-7000-8000-00000000000b', '00000000-0000-7000-8000-000000000001', 3);
             insert into orders (id, email, currency, subtotal, total, shipping_address, billing_address)
             values ('00000000-0000-7000-8000-00000000000c', 'a@example.com', 'GBP', 1, 1, '{}', '{}');
             insert into payments (id, order_id, gateway, method_token, amount, currency)
             values (gen_random_uuid(), '00000000-0000-7000-8000-00000000000c', 'sandbox', 't', 5, 'GBP');
             insert into stock_ledger (id, variant_id, location_id, kind, on_hand_delta, reserved_delta, order_id)
             values (gen_random_uuid(), '00000000-0000-7000-8000-00000000000b',
                     '00000000-0000-7000-8000-000000000001', 'reservation', 0, 1,
                     '00000000-0000-7000-8000-00000000000c')",
        )
        .await?;
    for (statement, constraint) in [
        ("update stock_levels set reserved = 4", "stock_never_oversold"),
        ("update stock_levels set on_hand = -1", "stock_never_oversold"),
        ("update payments set captured = 6", "payments_never_overcaptured"),
        ("update payments set captured = 5, refunded = 6", "payments_never_overrefunded"),
        (
            "insert into payments (id, order_id, gateway, method_token, amount, currency)
             select gen_random_uuid(), order_id, gateway, method_token, amount, currency from payments",
            "payments_one_live_per_order",
        ),
        (
            "insert into stock_ledger (id, variant_id, location_id, kind, on_hand_delta, reserved_delta, order_id)
             select gen_random_uuid(), variant_id, location_id, kind, on_hand_delta, reserved_delta, order_id
             from stock_ledger",
            "stock_ledger_once",
        ),
        ("update orders set step = 'completed'", "orders_check"),
        ("update orders set status = 'cancelled', step = 'compensated'", "orders_check"),
        ("update orders set status = 'lost', step = 'completed', confirmed_at = now()", "orders_status_check"),
    ] {
        let refused = database.conn().await.batch_execute(statement).await;
        let error = refused.err().with_context(|| format!("{statement} was accepted"))?.to_string();
        ensure!(error.contains(constraint), "{statement}: {error}");
    }
    Ok(())
}
