//! Everything the saga decides from, in one round trip.

use chrono::{DateTime, Utc};
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Integer, Jsonb, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use crate::effects::{Effect, ledger_json};
use crate::system::outages::Standing;
use crate::{CheckoutStep, Conn, Currency, Money, PaymentStatus, sql};

/// An order as the saga sees it.
#[derive(Debug, Clone)]
pub struct SagaOrder {
    /// Id.
    pub id: Uuid,
    /// Number, as people see it.
    pub number: i64,
    /// The registered customer; none for a guest.
    pub customer_id: Option<Uuid>,
    /// The buyer's own reference.
    pub reference: Option<String>,
    /// Where the saga stands.
    pub step: CheckoutStep,
    /// Why, as a stable code.
    pub reason_code: Option<String>,
    /// Why, for people.
    pub reason: Option<String>,
    /// What it costs in all.
    pub total: Money,
    /// Until when its stock is held.
    pub reserved_until: Option<DateTime<Utc>>,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// The database's clock, which all of these are of.
    pub now: DateTime<Utc>,
    /// Its newest payment.
    pub payment: Option<SagaPayment>,
    /// How the payment's gateway stands to the job.
    pub gateway: Standing,
    /// Its outside effects so far.
    pub effects: Vec<Effect>,
    /// Its lines.
    pub lines: Vec<SagaLine>,
}

/// The payment of an order.
#[derive(Debug, Clone)]
pub struct SagaPayment {
    /// Id.
    pub id: Uuid,
    /// The gateway's name.
    pub gateway: String,
    /// The gateway's token for the means of payment.
    pub method_token: String,
    /// What is asked for.
    pub amount: Money,
    /// What has become of it.
    pub status: PaymentStatus,
    /// The gateway's id of what is held.
    pub authorization_ref: Option<String>,
    /// The gateway's id of what was taken.
    pub capture_ref: Option<String>,
    /// Taken.
    pub captured: Money,
    /// Given back.
    pub refunded: Money,
}

/// A line, as it was frozen.
#[derive(Debug, Clone, QueryableByName)]
pub struct SagaLine {
    /// The variant.
    #[diesel(sql_type = SqlUuid)]
    pub variant_id: Uuid,
    /// Its product.
    #[diesel(sql_type = SqlUuid)]
    pub product_id: Uuid,
    /// Its SKU.
    #[diesel(sql_type = Text)]
    pub sku: String,
    /// The product's name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Pieces.
    #[diesel(sql_type = Integer)]
    pub quantity: i32,
    /// Price of one.
    #[diesel(sql_type = Numeric)]
    pub unit_price: Decimal,
    /// Price of the line.
    #[diesel(sql_type = Numeric)]
    pub total: Decimal,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    customer_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Text>)]
    reference: Option<String>,
    #[diesel(sql_type = Text)]
    step: CheckoutStep,
    #[diesel(sql_type = Nullable<Text>)]
    reason_code: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    reason: Option<String>,
    #[diesel(sql_type = Text)]
    currency: String,
    #[diesel(sql_type = Numeric)]
    total: Decimal,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    reserved_until: Option<DateTime<Utc>>,
    #[diesel(sql_type = Timestamptz)]
    placed_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    updated_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    now: DateTime<Utc>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    payment_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Text>)]
    gateway: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    method_token: Option<String>,
    #[diesel(sql_type = Nullable<Numeric>)]
    amount: Option<Decimal>,
    #[diesel(sql_type = Nullable<Text>)]
    payment_status: Option<PaymentStatus>,
    #[diesel(sql_type = Nullable<Text>)]
    authorization_ref: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    capture_ref: Option<String>,
    #[diesel(sql_type = Nullable<Numeric>)]
    captured: Option<Decimal>,
    #[diesel(sql_type = Nullable<Numeric>)]
    refunded: Option<Decimal>,
    #[diesel(sql_type = Nullable<Text>)]
    gateway_standing: Option<Standing>,
    #[diesel(sql_type = Jsonb)]
    effects: Value,
}

/// Reads an order, its newest payment, its effects and its lines, for the job that carries it; none if there is no such
/// order.
pub async fn load(conn: &mut Conn, order_id: Uuid, job_id: Uuid) -> QueryResult<Option<SagaOrder>> {
    let conn: &Conn = conn;
    let (mut for_order, mut for_lines) = (conn, conn);
    let order = sql(
        "select o.number, o.customer_id, o.reference, o.step, o.reason_code, o.reason, o.currency, o.total,
                o.reserved_until, o.placed_at, o.updated_at, now() as now,
                p.id as payment_id, p.gateway, p.method_token, p.amount, p.status as payment_status,
                p.authorization_ref, p.capture_ref, p.captured, p.refunded,
                (select case when d.probe_id = $2 then 'probe' else 'down' end from dependencies d
                 where d.name = 'gateway.' || p.gateway and d.down_since is not null) as gateway_standing,
                coalesce((select jsonb_agg(to_jsonb(e)) from effects e where e.correlation_id = o.id), '[]') as effects
         from orders o left join lateral (
             select * from payments where order_id = o.id order by created_at desc, id desc limit 1) p on true
         where o.id = $1",
    )
    .bind::<SqlUuid, _>(order_id)
    .bind::<SqlUuid, _>(job_id)
    .get_result::<Row>(&mut for_order);
    let lines = sql("select variant_id, product_id, sku, name, quantity, unit_price, total
         from order_lines where order_id = $1 order by position")
    .bind::<SqlUuid, _>(order_id)
    .load::<SagaLine>(&mut for_lines);
    // Both are sent before the first is answered.
    let (order, lines) = futures::join!(order, lines);
    let lines = lines?;
    order.optional()?.map(|row| row.into_order(order_id, lines)).transpose()
}

impl Row {
    fn into_order(self, id: Uuid, lines: Vec<SagaLine>) -> QueryResult<SagaOrder> {
        let currency = Currency::parse(&self.currency).map_err(corrupt)?;
        let money = |amount: Decimal| Money::new(amount, currency).map_err(corrupt);
        let zero = Money::zero(currency);
        let payment =
            match (self.payment_id, self.gateway, self.method_token, self.amount, self.payment_status) {
                (Some(id), Some(gateway), Some(method_token), Some(amount), Some(status)) => {
                    Some(SagaPayment {
                        id,
                        gateway,
                        method_token,
                        amount: money(amount)?,
                        status,
                        authorization_ref: self.authorization_ref,
                        capture_ref: self.capture_ref,
                        captured: self.captured.map_or(Ok(zero), money)?,
                        refunded: self.refunded.map_or(Ok(zero), money)?,
                    })
                }
                _ => None,
            };
        Ok(SagaOrder {
            id,
            number: self.number,
            customer_id: self.customer_id,
            reference: self.reference,
            step: self.step,
            reason_code: self.reason_code,
            reason: self.reason,
            total: money(self.total)?,
            reserved_until: self.reserved_until,
            placed_at: self.placed_at,
            updated_at: self.updated_at,
            now: self.now,
            payment,
            gateway: self.gateway_standing.unwrap_or(Standing::Up),
            effects: ledger_json::read(self.effects)?,
            lines,
        })
    }
}

fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> DieselError {
    DieselError::DeserializationError(Box::new(error))
}

impl SagaOrder {
    /// The effect with this key.
    pub fn effect(&self, key: &str) -> Option<&Effect> {
        self.effects.iter().find(|effect| effect.key == key)
    }
}
