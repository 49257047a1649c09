//! ... -> compensating.

use diesel::sql_types::{BigInt, Jsonb, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Answered, Mover, ReasonCode};
use crate::effects::ledger_json;
use crate::inventory::{Flip, release};
use crate::{CheckoutStep, Conn, PaymentStatus, sql};

/// Why an order turns back, and the refusal that made it.
#[derive(Debug, Clone, Copy)]
pub struct TurnBack<'a> {
    /// Where it stands now.
    pub from: CheckoutStep,
    /// Stable code.
    pub code: ReasonCode,
    /// For people.
    pub reason: &'a str,
    /// The gateway's refusal, if that is why.
    pub refused: Option<Answered<'a>>,
    /// What the refusal makes of the payment; none if it leaves something to void.
    pub payment: Option<PaymentRefused<'a>>,
}

/// A payment that will not be.
#[derive(Debug, Clone, Copy)]
pub struct PaymentRefused<'a> {
    /// The payment.
    pub id: Uuid,
    /// Declined or failed.
    pub status: PaymentStatus,
    /// The issuer's or the gateway's code.
    pub code: &'a str,
}

#[derive(QueryableByName)]
struct Moved {
    #[diesel(sql_type = BigInt)]
    #[allow(dead_code, reason = "a row is the answer; diesel wants a column")]
    version: i64,
}

/// Turns the order back and releases its stock at once, whatever the gateway may yet have to say about the money; returns
/// the variants that can be sold again. To be called in a transaction.
pub async fn turn_back(
    conn: &mut Conn,
    mover: Mover,
    order_id: Uuid,
    turn: TurnBack<'_>,
) -> QueryResult<Option<Vec<Flip>>> {
    let moved: Option<Moved> = sql(
        "with held as materialized (
             select 1 from jobs where id = $2 and claim = $3 and state = 'running' for share),
         moved as (
             update orders set step = 'compensating', reason_code = $6, reason = $7, version = version + 1,
                    updated_at = now()
             where id = $1 and step = $5 and exists (select 1 from held)
             returning version),
         told as (
             insert into order_history (order_id, version, status, step, reason_code, reason, job_id, attempt, actor)
             select $1, version, 'pending', 'compensating', $6, $7, $2, $4, 'system' from moved),
         settled as (
             update effects set state = 'rejected', response = $9, finished_at = now(), calls = (calls - (-1)) || $10
             from moved where key = $8 and state = 'started'),
         paid as (
             update payments set status = $12, failure = $13,
                    decline_code = case when $12 = 'declined' then $13 end,
                    version = payments.version + 1, updated_at = now()
             from moved where payments.id = $11 and payments.status = 'pending')
         select version from moved",
    )
    .bind::<SqlUuid, _>(order_id)
    .bind::<SqlUuid, _>(mover.job_id)
    .bind::<BigInt, _>(mover.claim)
    .bind::<SmallInt, _>(mover.attempt)
    .bind::<Text, _>(turn.from)
    .bind::<Text, _>(turn.code)
    .bind::<Text, _>(turn.reason)
    .bind::<Nullable<Text>, _>(turn.refused.map(|answered| answered.key))
    .bind::<Nullable<Jsonb>, _>(turn.refused.map(|answered| answered.response))
    .bind::<Nullable<Jsonb>, _>(turn.refused.map(|answered| ledger_json::write(answered.calls)))
    .bind::<Nullable<SqlUuid>, _>(turn.payment.map(|payment| payment.id))
    .bind::<Nullable<Text>, _>(turn.payment.map(|payment| payment.status))
    .bind::<Nullable<Text>, _>(turn.payment.map(|payment| payment.code))
    .get_result(conn)
    .await
    .optional()?;
    match moved {
        // An order that never came to reserve holds nothing.
        Some(_) if turn.from == CheckoutStep::Accepted => Ok(Some(Vec::new())),
        Some(_) => Ok(Some(release(conn, order_id).await?)),
        None => Ok(None),
    }
}
