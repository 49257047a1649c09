//! Why an order stands where it stands.

use diesel::QueryResult;
use diesel::sql_types::{BigInt, SmallInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Mover;
use crate::{CheckoutStep, Conn, sql};

crate::text_enum! {
    /// The stable codes of `orders.reason_code` that the checkout gives.
    pub enum ReasonCode {
        /// The units are there, but held by checkouts that may yet fail.
        WaitingForStock = "waiting_for_stock",
        /// The gateway does not answer; it is tried again.
        GatewayUnavailable = "gateway_unavailable",
        /// There are not enough units.
        OutOfStock = "out_of_stock",
        /// The issuer refused.
        PaymentDeclined = "payment_declined",
        /// The gateway refused for a reason that is not the issuer's, or the checkout failed on our side.
        PaymentFailed = "payment_failed",
        /// The payment did not come in time.
        ReservationExpired = "reservation_expired",
    }
}

/// Says why the order goes on standing at `step`, once: an order that says so already is left alone. True if it was told.
pub async fn note(
    conn: &mut Conn,
    mover: Mover,
    order_id: Uuid,
    step: CheckoutStep,
    code: ReasonCode,
    reason: &str,
) -> QueryResult<bool> {
    let told = sql(
        "with held as materialized (
             select 1 from jobs where id = $2 and claim = $3 and state = 'running' for share),
         moved as (
             update orders set reason_code = $6, reason = $7, version = version + 1, updated_at = now()
             where id = $1 and step = $5 and reason_code is distinct from $6 and exists (select 1 from held)
             returning version, status)
         insert into order_history (order_id, version, status, step, reason_code, reason, job_id, attempt, actor)
         select $1, version, status, $5, $6, $7, $2, $4, 'system' from moved",
    )
    .bind::<SqlUuid, _>(order_id)
    .bind::<SqlUuid, _>(mover.job_id)
    .bind::<BigInt, _>(mover.claim)
    .bind::<SmallInt, _>(mover.attempt)
    .bind::<Text, _>(step)
    .bind::<Text, _>(code)
    .bind::<Text, _>(reason)
    .execute(conn)
    .await?;
    Ok(told == 1)
}
