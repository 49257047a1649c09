//! Absolute stock levels from a feed: what somebody counted replaces what we thought, through the ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Bool, Integer, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, Sku, imports::run::RowOutcome, new_id, sql};

/// A level as a feed tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRow {
    /// Whose.
    pub sku: Sku,
    /// Where, by code; none for the location that is asked first.
    pub location: Option<String>,
    /// Pieces on the shelf, zero or more.
    pub on_hand: i32,
    /// Below this somebody should order more; none leaves it.
    pub reorder_level: Option<i32>,
    /// Place in the feed's own order. A row with a smaller number than one already applied is refused, one with the same
    /// number changes nothing, so that a feed may be sent twice; none always applies.
    pub sequence: Option<i64>,
}

/// A variant that sold out, or came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockFlip {
    /// Its product.
    pub product_id: Uuid,
    /// The variant.
    pub variant_id: Uuid,
    /// Its SKU.
    pub sku: String,
    /// Pieces available over all active locations now.
    pub available: i64,
}

/// What a feed came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// One per row, in their order.
    pub outcomes: Vec<RowOutcome>,
    /// Variants that had something to sell before and have nothing now.
    pub depleted: Vec<StockFlip>,
    /// Variants that had nothing to sell before and have something now.
    pub replenished: Vec<StockFlip>,
}

#[derive(QueryableByName)]
struct Variant {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    product_id: Uuid,
    #[diesel(sql_type = Text)]
    sku: String,
}

#[derive(QueryableByName)]
struct Location {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    code: String,
    #[diesel(sql_type = Bool)]
    active: bool,
}

// The columns' own names.
#[allow(clippy::struct_field_names)]
#[derive(Clone, PartialEq, QueryableByName)]
struct Level {
    #[diesel(sql_type = SqlUuid)]
    variant_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    location_id: Uuid,
    #[diesel(sql_type = Integer)]
    on_hand: i32,
    #[diesel(sql_type = Integer)]
    reserved: i32,
    #[diesel(sql_type = Integer)]
    reorder_level: i32,
    #[diesel(sql_type = BigInt)]
    feed_seq: i64,
    #[diesel(sql_type = Bool)]
    backorder: bool,
    #[diesel(sql_type = Bool)]
    active: bool,
}

type Key = (Uuid, Uuid);

/// Applies rows in their order, in the transaction open on `conn`; a later row of a level counts over an earlier one.
/// Ledger entries carry `reference`.
pub async fn apply(conn: &mut Conn, rows: &[&SyncRow], reference: &str) -> QueryResult<SyncReport> {
    let variants = variants(conn, rows).await?;
    let locations = locations(conn).await?;
    let places: Vec<Result<Key, RowOutcome>> =
        rows.iter().map(|row| place(row, &variants, &locations)).collect();
    let wanted: BTreeSet<Key> = places.iter().filter_map(|place| place.as_ref().ok().copied()).collect();
    let made = insert_missing(conn, &wanted).await?;
    let before = lock(conn, &wanted).await?;

    // The rows are played through in memory over the locked levels; then each level is written once.
    let mut now: BTreeMap<Key, Level> =
        before.iter().map(|level| ((level.variant_id, level.location_id), level.clone())).collect();
    let mut fresh = made;
    let mut report = SyncReport::default();
    for (row, place) in rows.iter().zip(places) {
        report.outcomes.push(match place {
            Err(refused) => refused,
            Ok(key) => match now.get_mut(&key) {
                Some(level) => step(row, level, fresh.remove(&key)),
                // Its variant was deleted a moment ago.
                None => refused("sku", row.sku.as_str(), "there is no variant with this SKU"),
            },
        });
    }
    let changed: Vec<(&Level, &Level)> = before
        .iter()
        .filter_map(|old| Some((old, now.get(&(old.variant_id, old.location_id))?)))
        .filter(|(old, new)| old != new)
        .collect();
    write(conn, &changed, reference).await?;
    flips(&before, &now, &variants, &mut report);
    Ok(report)
}

/// One row over one level.
fn step(row: &SyncRow, level: &mut Level, fresh: bool) -> RowOutcome {
    if let Some(sequence) = row.sequence {
        if sequence < level.feed_seq {
            let reason = format!("older than {}, which is applied already", level.feed_seq);
            return refused("sequence", &sequence.to_string(), &reason);
        }
        if sequence == level.feed_seq && !fresh {
            return RowOutcome::Unchanged;
        }
    }
    if row.on_hand < level.reserved && !level.backorder {
        let reason = format!("{} pieces are reserved for orders", level.reserved);
        return refused("on_hand", &row.on_hand.to_string(), &reason);
    }
    let reorder_level = row.reorder_level.unwrap_or(level.reorder_level);
    let differs = row.on_hand != level.on_hand || reorder_level != level.reorder_level;
    level.on_hand = row.on_hand;
    level.reorder_level = reorder_level;
    level.feed_seq = row.sequence.unwrap_or(level.feed_seq);
    match (fresh, differs) {
        (true, _) => RowOutcome::Created,
        (false, true) => RowOutcome::Updated,
        (false, false) => RowOutcome::Unchanged,
    }
}

fn refused(field: &'static str, value: &str, reason: &str) -> RowOutcome {
    RowOutcome::Refused { field, value: value.to_owned(), reason: reason.to_owned() }
}

fn place(
    row: &SyncRow,
    variants: &HashMap<String, Variant>,
    locations: &[Location],
) -> Result<Key, RowOutcome> {
    let sku = row.sku.as_str();
    let variant =
        variants.get(sku).ok_or_else(|| refused("sku", sku, "there is no variant with this SKU"))?;
    let location = match &row.location {
        // In the order in which they are asked for stock.
        None => locations.iter().find(|location| location.active),
        Some(code) => locations.iter().find(|location| location.code == *code),
    };
    let code = row.location.as_deref().unwrap_or_default();
    let location = location.ok_or_else(|| refused("location", code, "there is no such location"))?;
    Ok((variant.id, location.id))
}

async fn variants(conn: &mut Conn, rows: &[&SyncRow]) -> QueryResult<HashMap<String, Variant>> {
    let rows: Vec<Variant> = sql("select id, product_id, sku from variants where sku = any($1)")
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.sku.as_str()).collect::<Vec<_>>())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.sku.clone(), row)).collect())
}

async fn locations(conn: &mut Conn) -> QueryResult<Vec<Location>> {
    sql("select id, code, active from locations order by priority, code").load(conn).await
}

#[derive(QueryableByName)]
struct Made {
    #[diesel(sql_type = SqlUuid)]
    variant_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    location_id: Uuid,
}

async fn insert_missing(conn: &mut Conn, wanted: &BTreeSet<Key>) -> QueryResult<BTreeSet<Key>> {
    let made: Vec<Made> = sql("insert into stock_levels (variant_id, location_id)
         select v.id, t.location_id from unnest($1, $2) as t(variant_id, location_id)
         join variants v on v.id = t.variant_id order by 1, 2
         on conflict do nothing returning variant_id, location_id")
    .bind::<Array<SqlUuid>, _>(wanted.iter().map(|key| key.0).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(wanted.iter().map(|key| key.1).collect::<Vec<_>>())
    .load(conn)
    .await?;
    Ok(made.into_iter().map(|made| (made.variant_id, made.location_id)).collect())
}

/// Every level of the variants, locked in the order in which reservations lock them.
async fn lock(conn: &mut Conn, wanted: &BTreeSet<Key>) -> QueryResult<Vec<Level>> {
    let variants: BTreeSet<Uuid> = wanted.iter().map(|key| key.0).collect();
    sql("select s.variant_id, s.location_id, s.on_hand, s.reserved, s.reorder_level, s.feed_seq, s.backorder, l.active
         from stock_levels s join locations l on l.id = s.location_id
         where s.variant_id = any($1) order by s.variant_id, s.location_id for update of s")
    .bind::<Array<SqlUuid>, _>(variants.into_iter().collect::<Vec<_>>())
    .load(conn)
    .await
}

async fn write(conn: &mut Conn, changed: &[(&Level, &Level)], reference: &str) -> QueryResult<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sql("with t as (
             select * from unnest($1, $2, $3, $4, $5, $6, $7)
                  as t(id, variant_id, location_id, on_hand, delta, reorder_level, feed_seq)),
         levels as (
             update stock_levels s set on_hand = t.on_hand, reorder_level = t.reorder_level, feed_seq = t.feed_seq,
                    version = s.version + 1, updated_at = now()
             from t where s.variant_id = t.variant_id and s.location_id = t.location_id)
         insert into stock_ledger (id, variant_id, location_id, kind, on_hand_delta, reserved_delta, reference)
         select id, variant_id, location_id, case when delta > 0 then 'purchase' else 'adjustment' end, delta, 0, $8
         from t where delta <> 0")
    .bind::<Array<SqlUuid>, _>(changed.iter().map(|_| new_id()).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(changed.iter().map(|(_, new)| new.variant_id).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(changed.iter().map(|(_, new)| new.location_id).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(changed.iter().map(|(_, new)| new.on_hand).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(changed.iter().map(|(old, new)| new.on_hand - old.on_hand).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(changed.iter().map(|(_, new)| new.reorder_level).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(changed.iter().map(|(_, new)| new.feed_seq).collect::<Vec<_>>())
    .bind::<Text, _>(reference)
    .execute(conn)
    .await?;
    Ok(())
}

/// Variants whose availability over active locations crossed zero; one that may be sold beyond its stock never does.
fn flips(
    before: &[Level],
    now: &BTreeMap<Key, Level>,
    variants: &HashMap<String, Variant>,
    report: &mut SyncReport,
) {
    let by_id: HashMap<Uuid, &Variant> = variants.values().map(|variant| (variant.id, variant)).collect();
    for levels in before.chunk_by(|a, b| a.variant_id == b.variant_id) {
        let counted = || levels.iter().filter(|level| level.active);
        if counted().any(|level| level.backorder) {
            continue;
        }
        let available = |level: &Level| i64::from(level.on_hand) - i64::from(level.reserved);
        let old: i64 = counted().map(available).sum();
        let new: i64 = counted()
            .filter_map(|level| now.get(&(level.variant_id, level.location_id)))
            .map(available)
            .sum();
        let Some(variant) = by_id.get(&levels[0].variant_id) else { continue };
        let flip = || StockFlip {
            product_id: variant.product_id,
            variant_id: variant.id,
            sku: variant.sku.clone(),
            available: new,
        };
        match (old > 0, new > 0) {
            (true, false) => report.depleted.push(flip()),
            (false, true) => report.replenished.push(flip()),
            _ => {}
        }
    }
}
