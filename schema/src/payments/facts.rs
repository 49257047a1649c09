//! What the gateway is known to have done. Each function says whether it was news.

use diesel::QueryResult;
use diesel::sql_types::{Numeric, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::{Conn, PaymentStatus, sql};

/// The amount is held.
pub async fn authorized(conn: &mut Conn, payment_id: Uuid, authorization_ref: &str) -> QueryResult<bool> {
    let changed = sql(
        "update payments set status = 'authorized', authorization_ref = $2, version = version + 1, updated_at = now()
         where id = $1 and status = 'pending'",
    )
    .bind::<SqlUuid, _>(payment_id)
    .bind::<Text, _>(authorization_ref)
    .execute(conn)
    .await?;
    Ok(changed == 1)
}

/// The amount was refused: `status` is declined (by the issuer) or failed (by the gateway).
pub async fn refused(
    conn: &mut Conn,
    payment_id: Uuid,
    status: PaymentStatus,
    code: &str,
) -> QueryResult<bool> {
    let changed = sql(
        "update payments set status = $2, failure = $3, decline_code = case when $2 = 'declined' then $3 end,
                version = version + 1, updated_at = now()
         where id = $1 and status = 'pending' and $2 in ('declined', 'failed')",
    )
    .bind::<SqlUuid, _>(payment_id)
    .bind::<Text, _>(status)
    .bind::<Text, _>(code)
    .execute(conn)
    .await?;
    Ok(changed == 1)
}

/// `amount` was taken, even if nobody had told that it was held.
pub async fn captured(
    conn: &mut Conn,
    payment_id: Uuid,
    authorization_ref: &str,
    capture_ref: &str,
    amount: Decimal,
) -> QueryResult<bool> {
    let changed = sql(
        "update payments set status = 'captured', authorization_ref = $2, capture_ref = $3, captured = $4,
                version = version + 1, updated_at = now()
         where id = $1 and status in ('pending', 'authorized')",
    )
    .bind::<SqlUuid, _>(payment_id)
    .bind::<Text, _>(authorization_ref)
    .bind::<Text, _>(capture_ref)
    .bind::<Numeric, _>(amount)
    .execute(conn)
    .await?;
    Ok(changed == 1)
}

/// What was held is let go.
pub async fn voided(conn: &mut Conn, payment_id: Uuid) -> QueryResult<bool> {
    let changed = sql("update payments set status = 'voided', version = version + 1, updated_at = now()
         where id = $1 and status in ('pending', 'authorized')")
    .bind::<SqlUuid, _>(payment_id)
    .execute(conn)
    .await?;
    Ok(changed == 1)
}

/// In all, `total` of what was taken went back.
pub async fn refunded(conn: &mut Conn, payment_id: Uuid, total: Decimal) -> QueryResult<bool> {
    let changed = sql("update payments set refunded = $2, version = version + 1, updated_at = now(),
                status = case when $2 = captured then 'refunded' else 'partially_refunded' end
         where id = $1 and status in ('captured', 'partially_refunded') and $2 > refunded")
    .bind::<SqlUuid, _>(payment_id)
    .bind::<Numeric, _>(total)
    .execute(conn)
    .await?;
    Ok(changed == 1)
}

/// An authorization came to light after the payment had ended without one: remembers the gateway's id of it, so that it can
/// be let go. The payment stays as it is.
pub async fn late_authorization(
    conn: &mut Conn,
    payment_id: Uuid,
    authorization_ref: &str,
) -> QueryResult<bool> {
    let changed = sql("update payments set authorization_ref = $2, version = version + 1, updated_at = now()
         where id = $1 and status in ('voided', 'failed') and authorization_ref is null")
    .bind::<SqlUuid, _>(payment_id)
    .bind::<Text, _>(authorization_ref)
    .execute(conn)
    .await?;
    Ok(changed == 1)
}
