//! The tables that are cut by UTC day and shed by whole days: partitions made ahead, dropped by age, and the default
//! partitions, which take what comes for a day that has none, emptied again.
//!
//! Every change is a statement of its own, and so a transaction, that waits 200 ms for its locks and no longer; the migration
//! says which and why. What was in the way is tried again by the next call.

use chrono::NaiveDate;
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Bool, Date, Integer, Nullable, Text},
};
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use crate::{Conn, sql};

/// A table, its key, and by which column a row is as old as it looks: the key of an event's row is the event's time, and it
/// may be written long after.
struct Table {
    name: &'static str,
    key: &'static str,
    written: &'static str,
}

const KEYS: [Table; 4] = [
    Table { name: "job_history", key: "finished_at", written: "finished_at" },
    Table { name: "job_logs", key: "at", written: "at" },
    Table { name: "event_log", key: "created_at", written: "published_at" },
    Table { name: "inbox", key: "event_at", written: "handled_at" },
];

/// The tables.
pub const TABLES: [&str; 4] = [KEYS[0].name, KEYS[1].name, KEYS[2].name, KEYS[3].name];

/// Days that a process makes sure of before it begins: today and tomorrow. The rest is not urgent.
pub const AT_START: i32 = 1;

/// A filled default partition becomes that of its own days and this many more, so that no row is refused while it does; see the
/// migration.
const SLACK_DAYS: i32 = 2;

/// Tries to take the place of a default partition, each 200 ms at most.
const SWAPS: u8 = 3;

/// Pages of 8 KiB read for aged rows by one statement.
const PAGES: i64 = 2_000;

/// What came of a round of changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Partitions made, or dropped.
    pub changed: i32,
    /// Tables that were left as they are, because somebody has them in use: the next round may have more luck.
    pub busy: i32,
}

/// What became of a default partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// Aged rows removed from it.
    pub removed: i64,
    /// How it ended.
    pub end: Settlement,
}

/// How an attempt to empty a default partition ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Settlement {
    /// It is empty, or holds nothing but late comers for days whose partitions are gone; they go by their own age.
    #[default]
    Empty,
    /// It has become the partition of the days it held.
    Made,
    /// Somebody has it in use.
    Busy,
    /// It holds rows of days with others' partitions between them. They are removed by their age, and looked at by a person
    /// until then: no release that settles default partitions leaves such behind.
    Mixed,
}

/// How far one table's partitions reach.
#[derive(Debug, Clone, QueryableByName)]
pub struct Health {
    /// The table.
    #[diesel(sql_type = Text)]
    pub parent: String,
    /// Days from tomorrow on that have a partition, 31 at most.
    #[diesel(sql_type = Integer)]
    pub days_ahead: i32,
    /// Whether its default partition holds rows that should lie elsewhere.
    #[diesel(sql_type = Bool)]
    pub strays: bool,
}

#[derive(QueryableByName)]
struct Missing {
    #[diesel(sql_type = Text)]
    parent: String,
    #[diesel(sql_type = Date)]
    day: NaiveDate,
}

#[derive(QueryableByName)]
struct Said {
    #[diesel(sql_type = Text)]
    said: String,
}

#[derive(QueryableByName)]
struct Child {
    #[diesel(sql_type = Text)]
    child: String,
}

#[derive(QueryableByName)]
struct Pages {
    #[diesel(sql_type = BigInt)]
    pages: i64,
}

#[derive(QueryableByName)]
struct Span {
    #[diesel(sql_type = Nullable<Date>)]
    first: Option<NaiveDate>,
    #[diesel(sql_type = Nullable<Date>)]
    last: Option<NaiveDate>,
    #[diesel(sql_type = Bool)]
    mixed: bool,
    #[diesel(sql_type = Bool)]
    late: bool,
    #[diesel(sql_type = Bool)]
    only_late: bool,
}

/// How far each table's partitions reach.
pub async fn health(conn: &mut Conn) -> QueryResult<Vec<Health>> {
    sql("select parent, days_ahead, strays from waybill_partition_health()").load(conn).await
}

/// Makes the partitions that are missing from yesterday to `days_ahead` days from now, the nearest first. With none missing it
/// is one look at the catalogue.
pub async fn ensure(conn: &mut Conn, days_ahead: i32) -> QueryResult<Round> {
    ensure_of(conn, &TABLES, days_ahead).await
}

/// [`ensure`] for some of the tables.
pub async fn ensure_of(conn: &mut Conn, tables: &[&str], days_ahead: i32) -> QueryResult<Round> {
    let missing: Vec<Missing> = sql("with parts as materialized (
             select t.parent, p.low, p.high from unnest($1) as t(parent), waybill_partitions(t.parent) p)
         select t.parent, day
         from unnest($1) as t(parent),
              lateral (select (now() at time zone 'utc')::date + i as day from generate_series(-1, $2) i) days
         where not exists (select from parts p
                           where p.parent = t.parent
                             and p.low <= waybill_midnight(day) and p.high > waybill_midnight(day))
         order by abs(day - (now() at time zone 'utc')::date), day desc, t.parent")
    .bind::<Array<Text>, _>(tables.to_vec())
    .bind::<Integer, _>(days_ahead)
    .load(conn)
    .await?;
    let mut round = Round::default();
    let mut busy: Vec<String> = Vec::new();
    for Missing { parent, day } in missing {
        // Each try may hold readers up: one in vain is enough for a round.
        if busy.contains(&parent) {
            continue;
        }
        let made: Said = sql("select waybill_add_partition($1, $2) as said")
            .bind::<Text, _>(&parent)
            .bind::<Date, _>(day)
            .get_result(conn)
            .await?;
        match made.said.as_str() {
            "made" => round.changed += 1,
            "busy" => busy.push(parent),
            _ => {}
        }
    }
    round.busy = i32::try_from(busy.len()).unwrap_or(i32::MAX);
    Ok(round)
}

/// Drops the partitions of a table whose last day is more than `keep_days` ago, the oldest first.
pub async fn shed(conn: &mut Conn, table: &'static str, keep_days: i32) -> QueryResult<Round> {
    let aged: Vec<Child> = sql("select child from waybill_partitions($1)
         where high <= waybill_midnight((now() at time zone 'utc')::date - $2) order by low")
    .bind::<Text, _>(table)
    .bind::<Integer, _>(keep_days)
    .load(conn)
    .await?;
    let mut round = Round::default();
    for Child { child } in aged {
        let dropped: Said = sql("select waybill_drop_partition($1, $2) as said")
            .bind::<Text, _>(table)
            .bind::<Text, _>(child)
            .get_result(conn)
            .await?;
        match dropped.said.as_str() {
            "dropped" => round.changed += 1,
            "busy" => {
                round.busy = 1;
                break;
            }
            _ => {}
        }
    }
    Ok(round)
}

/// Empties the default partition of a table: removes rows that are past retention, and makes of the rest the partition of its
/// days. Most of the time it finds nothing to do, by one look.
pub async fn settle_default(conn: &mut Conn, table: &'static str, keep_days: i32) -> QueryResult<Settled> {
    let mut settled = Settled::default();
    let Some(table) = KEYS.iter().find(|known| known.name == table) else { return Ok(settled) };
    // What a process left that died between the steps below.
    step(conn, "select waybill_unbound_default($1) as said", table).await?;
    settled.removed = remove_aged(conn, table, keep_days).await?;
    let Span { first, last, mixed, late, only_late } = span(conn, table, keep_days).await?;
    let (Some(first), Some(last), false) = (first, last, only_late) else { return Ok(settled) };
    settled.end = match (mixed, late) {
        (true, false) => Settlement::Mixed,
        // Late comers are gone a day later. Rows that need a partition wait for that.
        (true, true) => Settlement::Empty,
        (false, _) => take_place(conn, table, first, last).await?,
    };
    Ok(settled)
}

/// Statements over a default partition: a name cannot be bound.
fn of(table: &Table, text: &str) -> String {
    text.replace("{table}", table.name).replace("{key}", table.key).replace("{written}", table.written)
}

/// Rows of days past retention that were written a day ago or longer: the inbox may still be asked for what came in today. By
/// stretches of pages, so that no row is looked at twice, whatever the number of them.
async fn remove_aged(conn: &mut Conn, table: &Table, keep_days: i32) -> QueryResult<i64> {
    let size = of(table, "select pg_relation_size('{table}_default') / 8192 as pages");
    let Pages { pages } = diesel::sql_query(size).get_result(conn).await?;
    let mut removed = 0;
    let mut from = 0;
    while from < pages {
        let statement = of(
            table,
            "delete from {table}_default
             where ctid >= format('(%s,0)', $1)::tid and ctid < format('(%s,0)', $1 + $2)::tid
               and {key} < waybill_midnight((now() at time zone 'utc')::date - $3)
               and {written} < now() - interval '1 day'",
        );
        let rows = diesel::sql_query(statement)
            .bind::<BigInt, _>(from)
            .bind::<BigInt, _>(PAGES)
            .bind::<Integer, _>(keep_days)
            .execute(conn)
            .await?;
        removed += i64::try_from(rows).unwrap_or(i64::MAX);
        from += PAGES;
    }
    Ok(removed)
}

/// The days that the default partition is to stand for, none if it is empty; whether others' partitions lie between them; and
/// whether the oldest, or all, are late comers.
async fn span(conn: &mut Conn, table: &Table, keep_days: i32) -> QueryResult<Span> {
    let statement = of(
        table,
        "with held as (select min({key}) as oldest, max({key}) as newest from {table}_default),
         parts as (select low, high from waybill_partitions('{table}')),
         days as (
             select (oldest at time zone 'utc')::date as first, newest, oldest,
                    greatest((newest at time zone 'utc')::date, (now() at time zone 'utc')::date) + $1 as last
             from held)
         select first,
                least(last, (select (min(low) at time zone 'utc')::date - 1 from parts where low > newest)) as last,
                coalesce(exists (select from parts where high > oldest and low < newest), false) as mixed,
                coalesce(oldest < waybill_midnight((now() at time zone 'utc')::date - $2), false) as late,
                coalesce(newest < waybill_midnight((now() at time zone 'utc')::date - $2), false) as only_late
         from days",
    );
    conn.transaction(async |conn| {
        // It reads the whole partition, without an index, and nobody waits for it.
        sql("set local statement_timeout = '10min'").execute(conn).await?;
        diesel::sql_query(statement)
            .bind::<Integer, _>(SLACK_DAYS)
            .bind::<Integer, _>(keep_days)
            .get_result(conn)
            .await
    })
    .await
}

async fn take_place(
    conn: &mut Conn,
    table: &Table,
    first: NaiveDate,
    last: NaiveDate,
) -> QueryResult<Settlement> {
    let with_days = async |conn: &mut Conn, statement: &'static str| {
        let said: Said = sql(statement)
            .bind::<Text, _>(table.name)
            .bind::<Date, _>(first)
            .bind::<Date, _>(last)
            .get_result(conn)
            .await?;
        QueryResult::Ok(said.said)
    };
    if with_days(conn, "select waybill_bound_default($1, $2, $3) as said").await? != "bound" {
        return Ok(Settlement::Busy);
    }
    let proved = conn
        .transaction(async |conn| {
            sql("set local statement_timeout = '10min'").execute(conn).await?;
            step(conn, "select waybill_prove_default($1) as said", table).await
        })
        .await;
    let mut end = Settlement::Busy;
    if matches!(&proved, Ok(said) if said == "proved") {
        for _ in 0..SWAPS {
            if with_days(conn, "select waybill_swap_default($1, $2, $3) as said").await? == "made" {
                end = Settlement::Made;
                break;
            }
        }
    }
    if end == Settlement::Busy {
        step(conn, "select waybill_unbound_default($1) as said", table).await?;
    }
    proved.map(|_| end)
}

async fn step(conn: &mut Conn, statement: &'static str, table: &Table) -> QueryResult<String> {
    let said: Said = sql(statement).bind::<Text, _>(table.name).get_result(conn).await?;
    Ok(said.said)
}
