//! A payment as the handlers of gateway events see it.

use diesel::sql_types::{Nullable, Numeric, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::{CheckoutStep, Conn, PaymentStatus, sql};

/// A payment, and where its order stands.
#[derive(Debug, Clone, QueryableByName)]
pub struct Payment {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// The order.
    #[diesel(sql_type = SqlUuid)]
    pub order_id: Uuid,
    /// Where the order stands.
    #[diesel(sql_type = Text)]
    pub step: CheckoutStep,
    /// What has become of it.
    #[diesel(sql_type = Text)]
    pub status: PaymentStatus,
    /// What is asked for.
    #[diesel(sql_type = Numeric)]
    pub amount: Decimal,
    /// ISO 4217.
    #[diesel(sql_type = Text)]
    pub currency: String,
    /// The gateway's id of what it holds.
    #[diesel(sql_type = Nullable<Text>)]
    pub authorization_ref: Option<String>,
    /// The gateway's id of what it took.
    #[diesel(sql_type = Nullable<Text>)]
    pub capture_ref: Option<String>,
    /// Taken.
    #[diesel(sql_type = Numeric)]
    pub captured: Decimal,
    /// Given back.
    #[diesel(sql_type = Numeric)]
    pub refunded: Decimal,
}

/// The payment that an event is about: by the gateway's id of the authorization, else by the order that the event names
/// (the event may be faster than the answer that tells the id).
pub async fn find_for_event(
    conn: &mut Conn,
    gateway: &str,
    authorization_ref: &str,
    order_id: Option<Uuid>,
) -> QueryResult<Option<Payment>> {
    sql(
        "select p.id, p.order_id, o.step, p.status, p.amount, p.currency, p.authorization_ref, p.capture_ref, p.captured,
                p.refunded
         from payments p join orders o on o.id = p.order_id
         where p.id = coalesce(
             (select id from payments where gateway = $1 and authorization_ref = $2),
             (select id from payments where gateway = $1 and order_id = $3 order by created_at desc, id desc limit 1))",
    )
    .bind::<Text, _>(gateway)
    .bind::<Text, _>(authorization_ref)
    .bind::<Nullable<SqlUuid>, _>(order_id)
    .get_result(conn)
    .await
    .optional()
}
