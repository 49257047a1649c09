//! Stock as people see and correct it.

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, new_id, sql};

/// A variant's stock at a location.
#[derive(Debug, Clone, QueryableByName)]
pub struct StockRow {
    /// Stock keeping unit.
    #[diesel(sql_type = Text)]
    pub sku: String,
    /// The variant.
    #[diesel(sql_type = SqlUuid)]
    pub variant_id: Uuid,
    /// The location.
    #[diesel(sql_type = SqlUuid)]
    pub location_id: Uuid,
    /// The location's code.
    #[diesel(sql_type = Text)]
    pub location: String,
    /// Pieces on the shelf.
    #[diesel(sql_type = Integer)]
    pub on_hand: i32,
    /// Pieces promised to orders.
    #[diesel(sql_type = Integer)]
    pub reserved: i32,
    /// Below this somebody should order more.
    #[diesel(sql_type = Integer)]
    pub reorder_level: i32,
    /// Whether it may be sold beyond what is there.
    #[diesel(sql_type = Bool)]
    pub backorder: bool,
    /// When it last changed.
    #[diesel(sql_type = Timestamptz)]
    pub updated_at: DateTime<Utc>,
}

/// A move of stock.
#[derive(Debug, Clone, QueryableByName)]
pub struct LedgerRow {
    /// Id, in order of time.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// The location's code.
    #[diesel(sql_type = Text)]
    pub location: String,
    /// purchase, sale, return, adjustment, reservation or release.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// Change of the pieces on the shelf.
    #[diesel(sql_type = Integer)]
    pub on_hand_delta: i32,
    /// Change of the pieces promised.
    #[diesel(sql_type = Integer)]
    pub reserved_delta: i32,
    /// The order it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub order_id: Option<Uuid>,
    /// Why, for people.
    #[diesel(sql_type = Nullable<Text>)]
    pub reference: Option<String>,
    /// When.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
}

/// A page of levels in the order of SKUs and locations; of one SKU, if given.
pub async fn list(
    conn: &mut Conn,
    sku: Option<&str>,
    after: Option<&(String, String)>,
    limit: i64,
) -> QueryResult<Vec<StockRow>> {
    sql("select v.sku, l.variant_id, l.location_id, w.code as location, l.on_hand, l.reserved, l.reorder_level, l.backorder,
                l.updated_at
         from variants v join stock_levels l on l.variant_id = v.id join locations w on w.id = l.location_id
         where ($1::text is null or v.sku = $1) and ($2::text is null or (v.sku, w.code) > ($2, $3))
         order by v.sku, w.code limit $4")
    .bind::<Nullable<Text>, _>(sku)
    .bind::<Nullable<Text>, _>(after.map(|(sku, _)| sku.as_str()))
    .bind::<Nullable<Text>, _>(after.map(|(_, location)| location.as_str()))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// A page of a variant's moves, newest first.
pub async fn ledger(
    conn: &mut Conn,
    variant: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<LedgerRow>> {
    sql("select e.id, w.code as location, e.kind, e.on_hand_delta, e.reserved_delta, e.order_id, e.reference, e.created_at
         from stock_ledger e join locations w on w.id = e.location_id
         where e.variant_id = $1 and ($2::uuid is null or e.id < $2) order by e.id desc limit $3")
    .bind::<SqlUuid, _>(variant)
    .bind::<Nullable<SqlUuid>, _>(before)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// A variant by its SKU.
#[derive(Debug, Clone, QueryableByName)]
pub struct VariantRef {
    /// The variant.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its product.
    #[diesel(sql_type = SqlUuid)]
    pub product_id: Uuid,
}

/// The variant of a SKU.
pub async fn variant(conn: &mut Conn, sku: &str) -> QueryResult<Option<VariantRef>> {
    sql("select id, product_id from variants where sku = $1")
        .bind::<Text, _>(sku)
        .get_result(conn)
        .await
        .optional()
}

#[derive(QueryableByName)]
struct LocationId {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// The location of a code; the one asked first, if no code is given.
pub async fn location(conn: &mut Conn, code: Option<&str>) -> QueryResult<Option<Uuid>> {
    let row: Option<LocationId> =
        sql("select id from locations where ($1::text is null and active) or code = $1
         order by priority, code limit 1")
        .bind::<Nullable<Text>, _>(code)
        .get_result(conn)
        .await
        .optional()?;
    Ok(row.map(|row| row.id))
}

/// How an adjustment says what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    /// So many more, or fewer.
    Delta(i32),
    /// So many are there, as somebody counted.
    OnHand(i32),
}

/// What became of an adjustment.
#[derive(Debug, Clone)]
pub enum Adjusted {
    /// It was applied.
    Applied {
        /// The level now.
        level: StockRow,
        /// What it changed; zero if the count was right.
        delta: i32,
        /// Pieces available over all active locations before.
        before: i64,
        /// The same after.
        after: i64,
        /// Whether the variant may be sold beyond that.
        backorder: bool,
    },
    /// Less would be left than orders were promised (or more than the database can count).
    Refused {
        /// Pieces on the shelf.
        on_hand: i32,
        /// Pieces promised.
        reserved: i32,
    },
}

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = Integer)]
    on_hand: i32,
    #[diesel(sql_type = Integer)]
    reserved: i32,
    #[diesel(sql_type = Bool)]
    backorder: bool,
    #[diesel(sql_type = BigInt)]
    available: i64,
    #[diesel(sql_type = Bool)]
    any_backorder: bool,
    #[diesel(sql_type = Bool)]
    counts: bool,
}

/// Corrects a level and writes the ledger. Every level of the variant is locked, in the order in which reservations lock
/// them, so that whether the variant was sold out before, and is after, is certain. Must run in a transaction.
pub async fn adjust(
    conn: &mut Conn,
    variant: Uuid,
    location: Uuid,
    adjustment: Adjustment,
    reason: &str,
) -> QueryResult<Adjusted> {
    sql("insert into stock_levels (variant_id, location_id) values ($1, $2) on conflict do nothing")
        .bind::<SqlUuid, _>(variant)
        .bind::<SqlUuid, _>(location)
        .execute(conn)
        .await?;
    sql("select 1 from stock_levels where variant_id = $1 order by variant_id, location_id for update")
        .bind::<SqlUuid, _>(variant)
        .execute(conn)
        .await?;
    let held: Held =
        sql("select l.on_hand, l.reserved, l.backorder, w.active as counts, t.available, t.any_backorder
         from stock_levels l join locations w on w.id = l.location_id,
              (select coalesce(sum(a.on_hand - a.reserved) filter (where b.active), 0)::bigint as available,
                      coalesce(bool_or(a.backorder) filter (where b.active), false) as any_backorder
               from stock_levels a join locations b on b.id = a.location_id where a.variant_id = $1) t
         where l.variant_id = $1 and l.location_id = $2")
        .bind::<SqlUuid, _>(variant)
        .bind::<SqlUuid, _>(location)
        .get_result(conn)
        .await?;
    let refused = Adjusted::Refused { on_hand: held.on_hand, reserved: held.reserved };
    let on_hand = match adjustment {
        Adjustment::Delta(delta) => held.on_hand.checked_add(delta),
        Adjustment::OnHand(count) => Some(count),
    };
    let Some(on_hand) = on_hand else { return Ok(refused) };
    let Some(delta) = on_hand.checked_sub(held.on_hand) else { return Ok(refused) };
    if !held.backorder && (on_hand < held.reserved || on_hand < 0) {
        return Ok(refused);
    }
    let level: StockRow = sql(
        "with level as (
             update stock_levels set on_hand = $3, version = version + 1, updated_at = now()
             where variant_id = $1 and location_id = $2 returning *),
         entry as (
             insert into stock_ledger (id, variant_id, location_id, kind, on_hand_delta, reserved_delta, reference)
             select $4, $1, $2, 'adjustment', $5, 0, $6 where $5 <> 0)
         select v.sku, l.variant_id, l.location_id, w.code as location, l.on_hand, l.reserved, l.reorder_level, l.backorder,
                l.updated_at
         from level l join variants v on v.id = l.variant_id join locations w on w.id = l.location_id",
    )
    .bind::<SqlUuid, _>(variant)
    .bind::<SqlUuid, _>(location)
    .bind::<Integer, _>(on_hand)
    .bind::<SqlUuid, _>(new_id())
    .bind::<Integer, _>(delta)
    .bind::<Text, _>(reason)
    .get_result(conn)
    .await?;
    let counted = if held.counts { i64::from(delta) } else { 0 };
    Ok(Adjusted::Applied {
        level,
        delta,
        before: held.available,
        after: held.available + counted,
        backorder: held.any_backorder,
    })
}
