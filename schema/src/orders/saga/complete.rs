//! ... -> completed: money taken, stock sold, order confirmed.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Answered, Mover};
use crate::effects::ledger_json;
use crate::{CheckoutStep, Conn, new_id, sql};

/// How the order comes to its end.
#[derive(Debug, Clone, Copy)]
pub struct Completion<'a> {
    /// Where it stands now.
    pub from: CheckoutStep,
    /// The payment; none for an order that costs nothing and has none.
    pub payment_id: Option<Uuid>,
    /// The gateway's id of what it took, and its answer; none if that is in the database already.
    pub captured: Option<(&'a str, Answered<'a>)>,
    /// Reservations that turn into sales: the order's variants.
    pub variants: usize,
}

/// The confirmed order.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct Completed {
    /// When.
    #[diesel(sql_type = Timestamptz)]
    pub confirmed_at: DateTime<Utc>,
    /// Reservations that turned into sales; anything but [`Completion::variants`] must not be committed.
    #[diesel(sql_type = BigInt)]
    pub sold: i64,
}

/// Confirms the order, in a transaction of the caller's that also tells the world. Writes one history entry for every
/// step from `from` to completed.
///
/// The job's claim is not looked at: the caller ends the job in the same transaction, which fails if it is lost.
pub async fn complete(
    conn: &mut Conn,
    mover: Mover,
    order_id: Uuid,
    completion: Completion<'_>,
) -> QueryResult<Option<Completed>> {
    let steps: Vec<CheckoutStep> =
        [CheckoutStep::Authorized, CheckoutStep::Captured, CheckoutStep::Completed]
            .into_iter()
            .filter(|step| *step > completion.from)
            .collect();
    let answered = completion.captured.map(|(_, answered)| answered);
    sql(
        "with moved as (
             update orders set step = 'completed', status = 'confirmed', confirmed_at = now(), reason_code = null,
                    reason = null, version = version + cardinality($5), updated_at = now()
             where id = $1 and step = $4
               and ($6 is null or exists (select 1 from payments where id = $6
                    and (status in ('authorized', 'captured') or (status = 'pending' and amount = 0))))
             returning version, confirmed_at),
         told as (
             insert into order_history (order_id, version, status, step, job_id, attempt, actor)
             select $1, version - cardinality($5) + place, case when step = 'completed' then 'confirmed' else 'pending' end,
                    step, $2, $3, 'system'
             from moved, unnest($5) with ordinality as t(step, place)),
         settled as (
             update effects set state = 'succeeded', response = $8, finished_at = now(), calls = (calls - (-1)) || $9
             from moved where key = $7 and state = 'started'),
         paid as (
             update payments set status = 'captured', captured = amount, capture_ref = coalesce($10, capture_ref),
                    version = payments.version + 1, updated_at = now()
             from moved where payments.id = $6 and payments.status in ('pending', 'authorized', 'captured')),
         locked as materialized (
             select s.variant_id, s.location_id, r.reserved_delta as quantity
             from moved, stock_ledger r
             join stock_levels s on s.variant_id = r.variant_id and s.location_id = r.location_id
             where r.order_id = $1 and r.kind = 'reservation'
             order by s.variant_id, s.location_id for update of s),
         sold as (
             update stock_levels s set on_hand = s.on_hand - l.quantity, reserved = s.reserved - l.quantity,
                    version = s.version + 1, updated_at = now()
             from locked l where s.variant_id = l.variant_id and s.location_id = l.location_id
             returning s.variant_id, s.location_id, l.quantity),
         ledger as (
             insert into stock_ledger (id, variant_id, location_id, kind, on_hand_delta, reserved_delta, order_id)
             select i.id, s.variant_id, s.location_id, 'sale', -s.quantity, -s.quantity, $1
             from (select *, row_number() over (order by variant_id) as place from sold) s
             join unnest($11) with ordinality as i(id, place) using (place)
             returning 1)
         select confirmed_at, (select count(*) from ledger) as sold from moved",
    )
    .bind::<SqlUuid, _>(order_id)
    .bind::<SqlUuid, _>(mover.job_id)
    .bind::<SmallInt, _>(mover.attempt)
    .bind::<Text, _>(completion.from)
    .bind::<Array<Text>, _>(steps)
    .bind::<Nullable<SqlUuid>, _>(completion.payment_id)
    .bind::<Nullable<Text>, _>(answered.map(|answered| answered.key))
    .bind::<Nullable<Jsonb>, _>(answered.map(|answered| answered.response))
    .bind::<Nullable<Jsonb>, _>(answered.map(|answered| ledger_json::write(answered.calls)))
    .bind::<Nullable<Text>, _>(completion.captured.map(|(capture_ref, _)| capture_ref))
    .bind::<Array<SqlUuid>, _>((0..completion.variants).map(|_| new_id()).collect::<Vec<_>>())
    .get_result(conn)
    .await
    .optional()
}
