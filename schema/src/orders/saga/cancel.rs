//! compensating -> compensated.

use chrono::{DateTime, Utc};
use diesel::sql_types::{SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Mover;
use crate::{Conn, sql};

/// The cancelled order.
#[derive(Debug, Clone, QueryableByName)]
pub struct Cancelled {
    /// When.
    #[diesel(sql_type = Timestamptz)]
    pub cancelled_at: DateTime<Utc>,
    /// Stable code.
    #[diesel(sql_type = Text)]
    pub reason_code: String,
    /// For people.
    #[diesel(sql_type = Text)]
    pub reason: String,
}

/// Cancels an order whose stock and money are back, in a transaction of the caller's that also tells the world and ends
/// the job. A payment that never came to hold anything is voided with it.
pub async fn cancel(conn: &mut Conn, mover: Mover, order_id: Uuid) -> QueryResult<Option<Cancelled>> {
    // Locked beforehand, so that the statement below sees what a gateway's webhook may be writing at this moment.
    sql("select 1 from payments where order_id = $1 for update")
        .bind::<SqlUuid, _>(order_id)
        .execute(conn)
        .await?;
    sql(
        "with moved as (
             update orders set step = 'compensated', status = 'cancelled', cancelled_at = now(), version = version + 1,
                    updated_at = now()
             where id = $1 and step = 'compensating'
               and not exists (select 1 from payments where order_id = $1
                               and (status = 'authorized' or captured > refunded))
             returning version, cancelled_at, reason_code, coalesce(reason, '') as reason),
         told as (
             insert into order_history (order_id, version, status, step, reason_code, reason, job_id, attempt, actor)
             select $1, version, 'cancelled', 'compensated', reason_code, reason, $2, $3, 'system' from moved),
         paid as (
             update payments set status = 'voided', version = payments.version + 1, updated_at = now()
             from moved where order_id = $1 and status = 'pending')
         select cancelled_at, reason_code, reason from moved",
    )
    .bind::<SqlUuid, _>(order_id)
    .bind::<SqlUuid, _>(mover.job_id)
    .bind::<SmallInt, _>(mover.attempt)
    .get_result(conn)
    .await
    .optional()
}
