//! accepted -> reserved.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sql_types::{
    Array, BigInt, Double, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid,
};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Mover;
use crate::effects::{NewEffect, ledger_json};
use crate::inventory::{Take, reservations};
use crate::{Conn, sql};

/// What is reserved, and what is asked of the gateway next.
#[derive(Debug, Clone, Copy)]
pub struct Reservation<'a> {
    /// What to hold, from levels that this transaction has locked.
    pub takes: &'a [Take],
    /// How long to hold it.
    pub ttl: Duration,
    /// The authorization; none for an order that costs nothing.
    pub authorize: Option<&'a NewEffect>,
}

/// The order as it stands now.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct Reserved {
    /// Until when the stock is held.
    #[diesel(sql_type = Timestamptz)]
    pub reserved_until: DateTime<Utc>,
}

/// Holds the stock, in the transaction that has locked its levels with [`crate::inventory::lock_levels`].
pub async fn reserve(
    conn: &mut Conn,
    mover: Mover,
    order_id: Uuid,
    reservation: Reservation<'_>,
) -> QueryResult<Option<Reserved>> {
    let (ids, variants, locations, quantities) = reservations::columns(reservation.takes);
    let next = reservation.authorize;
    sql(
        "with held as materialized (
             select 1 from jobs where id = $2 and claim = $3 and state = 'running' for share),
         moved as (
             update orders set step = 'reserved', reserved_until = now() + make_interval(secs => $5),
                    reason_code = null, reason = null, version = version + 1, updated_at = now()
             where id = $1 and step = 'accepted' and exists (select 1 from held)
             returning version, reserved_until),
         told as (
             insert into order_history (order_id, version, status, step, job_id, attempt, actor)
             select $1, version, 'pending', 'reserved', $2, $4, 'system' from moved),
         takes as (
             select t.* from moved, unnest($6, $7, $8, $9) as t(id, variant_id, location_id, quantity)),
         levels as (
             update stock_levels s set reserved = s.reserved + t.quantity, version = s.version + 1, updated_at = now()
             from takes t where s.variant_id = t.variant_id and s.location_id = t.location_id),
         ledger as (
             insert into stock_ledger (id, variant_id, location_id, kind, on_hand_delta, reserved_delta, order_id)
             select id, variant_id, location_id, 'reservation', 0, quantity, $1 from takes),
         begun as (
             insert into effects (key, kind, provider, correlation_id, request, calls)
             select $10, 'authorize', $11, $1, $12, $13 from moved where $10 is not null
             on conflict (key) do nothing)
         select reserved_until from moved",
    )
    .bind::<SqlUuid, _>(order_id)
    .bind::<SqlUuid, _>(mover.job_id)
    .bind::<BigInt, _>(mover.claim)
    .bind::<SmallInt, _>(mover.attempt)
    .bind::<Double, _>(reservation.ttl.as_secs_f64())
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Array<SqlUuid>, _>(variants)
    .bind::<Array<SqlUuid>, _>(locations)
    .bind::<reservations::Quantities, _>(quantities)
    .bind::<Nullable<Text>, _>(next.map(|effect| effect.key.as_str()))
    .bind::<Nullable<Text>, _>(next.map(|effect| effect.provider.as_str()))
    .bind::<Nullable<Jsonb>, _>(next.map(|effect| &effect.request))
    .bind::<Nullable<Jsonb>, _>(next.map(|effect| ledger_json::write(&[&effect.call])))
    .get_result(conn)
    .await
    .optional()
}
