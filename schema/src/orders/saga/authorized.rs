//! reserved -> authorized.

use diesel::sql_types::{BigInt, Jsonb, SmallInt, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Answered, Mover};
use crate::effects::{NewEffect, ledger_json};
use crate::{Conn, sql};

/// What the gateway holds, and what is asked of it next.
#[derive(Debug, Clone, Copy)]
pub struct Authorized<'a> {
    /// The payment.
    pub payment_id: Uuid,
    /// The gateway's id of what it holds.
    pub authorization_ref: &'a str,
    /// The answer to the authorization.
    pub answered: Answered<'a>,
    /// The capture.
    pub capture: &'a NewEffect,
}

#[derive(QueryableByName)]
struct Moved {
    #[diesel(sql_type = BigInt)]
    #[allow(dead_code, reason = "a row is the answer; diesel wants a column")]
    version: i64,
}

/// Records that the amount is held. A transaction of its own: one statement.
pub async fn authorized(
    conn: &mut Conn,
    mover: Mover,
    order_id: Uuid,
    move_: Authorized<'_>,
) -> QueryResult<Option<()>> {
    let moved: Option<Moved> = sql(
        "with held as materialized (
             select 1 from jobs where id = $2 and claim = $3 and state = 'running' for share),
         moved as (
             update orders set step = 'authorized', reason_code = null, reason = null, version = version + 1,
                    updated_at = now()
             where id = $1 and step = 'reserved' and exists (select 1 from held)
               and exists (select 1 from payments where id = $5 and status in ('pending', 'authorized'))
             returning version),
         told as (
             insert into order_history (order_id, version, status, step, job_id, attempt, actor)
             select $1, version, 'pending', 'authorized', $2, $4, 'system' from moved),
         settled as (
             update effects set state = 'succeeded', response = $8, finished_at = now(), calls = (calls - (-1)) || $9
             from moved where key = $7 and state = 'started'),
         paid as (
             update payments set status = 'authorized', authorization_ref = $6, version = payments.version + 1,
                    updated_at = now()
             from moved where payments.id = $5 and payments.status = 'pending'),
         begun as (
             insert into effects (key, kind, provider, correlation_id, request, calls)
             select $10, 'capture', $11, $1, $12, $13 from moved on conflict (key) do nothing)
         select version from moved",
    )
    .bind::<SqlUuid, _>(order_id)
    .bind::<SqlUuid, _>(mover.job_id)
    .bind::<BigInt, _>(mover.claim)
    .bind::<SmallInt, _>(mover.attempt)
    .bind::<SqlUuid, _>(move_.payment_id)
    .bind::<Text, _>(move_.authorization_ref)
    .bind::<Text, _>(move_.answered.key)
    .bind::<Jsonb, _>(move_.answered.response)
    .bind::<Jsonb, _>(ledger_json::write(move_.answered.calls))
    .bind::<Text, _>(&move_.capture.key)
    .bind::<Text, _>(&move_.capture.provider)
    .bind::<Jsonb, _>(&move_.capture.request)
    .bind::<Jsonb, _>(ledger_json::write(&[&move_.capture.call]))
    .get_result(conn)
    .await
    .optional()?;
    Ok(moved.map(|_| ()))
}
