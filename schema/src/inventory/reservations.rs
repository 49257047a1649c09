//! Stock held for orders. Levels are always locked in the order of (variant, location), so that no two orders wait for
//! each other.

use diesel::sql_types::{Array, BigInt, Bool, Integer, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::allocation::{Flip, Level, Need, Take};
use crate::{Conn, new_id, sql};

/// Locks the levels of `variants` at every active location until the transaction on `conn` ends.
///
/// The subquery hides how many there are: a plan for the very number looks cheaper than one for any, and would be made anew
/// for every order.
pub async fn lock_levels(conn: &mut Conn, variants: &[Uuid]) -> QueryResult<Vec<Level>> {
    sql("select s.variant_id, s.location_id, l.priority, s.on_hand, s.reserved, s.backorder
         from stock_levels s join locations l on l.id = s.location_id and l.active
         where s.variant_id = any((select $1)::uuid[])
         order by s.variant_id, s.location_id for update of s")
    .bind::<Array<SqlUuid>, _>(variants)
    .load(conn)
    .await
}

/// The same levels unlocked: enough to see that waiting goes on, without standing in the way of those who sell.
pub async fn read_levels(conn: &mut Conn, variants: &[Uuid]) -> QueryResult<Vec<Level>> {
    sql("select s.variant_id, s.location_id, l.priority, s.on_hand, s.reserved, s.backorder
         from stock_levels s join locations l on l.id = s.location_id and l.active
         where s.variant_id = any($1)")
    .bind::<Array<SqlUuid>, _>(variants)
    .load(conn)
    .await
}

#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = SqlUuid)]
    variant_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    location_id: Uuid,
    /// Zero where another location of the variant holds for the order.
    #[diesel(sql_type = BigInt)]
    held: i64,
    #[diesel(sql_type = BigInt)]
    available: i64,
    #[diesel(sql_type = Bool)]
    counts: bool,
    #[diesel(sql_type = Bool)]
    backorder: bool,
}

/// Gives back what `order_id` holds, in the transaction open on `conn`; returns the variants that can be sold again.
/// Does nothing for an order that holds nothing.
pub async fn release(conn: &mut Conn, order_id: Uuid) -> QueryResult<Vec<Flip>> {
    let rows: Vec<Place> = sql(
        "select s.variant_id, s.location_id, coalesce(r.reserved_delta, 0)::bigint as held,
                (s.on_hand - s.reserved)::bigint as available, l.active as counts, s.backorder
         from stock_levels s join locations l on l.id = s.location_id
         left join stock_ledger r on r.order_id = $1 and r.kind = 'reservation'
              and r.variant_id = s.variant_id and r.location_id = s.location_id
         where s.variant_id in (
             select h.variant_id from stock_ledger h where h.order_id = $1 and h.kind = 'reservation'
             and not exists (select 1 from stock_ledger d where d.order_id = $1 and d.kind in ('sale', 'release')
                             and d.variant_id = h.variant_id and d.location_id = h.location_id))
         order by s.variant_id, s.location_id for update of s",
    )
    .bind::<SqlUuid, _>(order_id)
    .load(conn)
    .await?;
    let held: Vec<&Place> = rows.iter().filter(|row| row.held > 0).collect();
    if held.is_empty() {
        return Ok(Vec::new());
    }
    sql("with t as (
             select * from unnest($2, $3, $4, $5) as t(id, variant_id, location_id, quantity)),
         levels as (
             update stock_levels s set reserved = s.reserved - t.quantity::integer, version = s.version + 1,
                    updated_at = now()
             from t where s.variant_id = t.variant_id and s.location_id = t.location_id)
         insert into stock_ledger (id, variant_id, location_id, kind, on_hand_delta, reserved_delta, order_id)
         select id, variant_id, location_id, 'release', 0, -quantity, $1 from t")
    .bind::<SqlUuid, _>(order_id)
    .bind::<Array<SqlUuid>, _>(held.iter().map(|_| new_id()).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(held.iter().map(|row| row.variant_id).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(held.iter().map(|row| row.location_id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(held.iter().map(|row| row.held).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(replenished(&rows))
}

/// The variants that had nothing to sell before what is held came back. `rows` are in the order of variants.
fn replenished(rows: &[Place]) -> Vec<Flip> {
    rows.chunk_by(|a, b| a.variant_id == b.variant_id)
        .filter(|places| !places.iter().any(|place| place.counts && place.backorder))
        .filter_map(|places| {
            let counted = places.iter().filter(|place| place.counts);
            let (before, back) =
                counted.fold((0, 0), |(sum, back), place| (sum + place.available, back + place.held));
            let flipped = before <= 0 && before + back > 0;
            flipped.then(|| Flip { variant_id: places[0].variant_id, available: before + back })
        })
        .collect()
}

/// What an order's lines need, each variant once, in the order in which levels are locked.
pub fn needs(lines: impl IntoIterator<Item = (Uuid, i32)>) -> Vec<Need> {
    let mut sums = std::collections::BTreeMap::new();
    for (variant_id, quantity) in lines {
        *sums.entry(variant_id).or_insert(0) += i64::from(quantity);
    }
    sums.into_iter().map(|(variant_id, quantity)| Need { variant_id, quantity }).collect()
}

/// The columns of `takes`, as unnest wants them.
pub(crate) fn columns(takes: &[Take]) -> (Vec<Uuid>, Vec<Uuid>, Vec<Uuid>, Vec<i32>) {
    (
        takes.iter().map(|_| new_id()).collect(),
        takes.iter().map(|take| take.variant_id).collect(),
        takes.iter().map(|take| take.location_id).collect(),
        takes.iter().map(|take| take.quantity).collect(),
    )
}

/// SQL type of [`columns`]' quantities, for the statements that bind them.
pub(crate) type Quantities = Array<Integer>;
