//! Reading orders. The owner's scope is part of each function's name.

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{
        Array, BigInt, Bool, Bytea, Integer, Jsonb, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid,
    },
};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use crate::{CheckoutStep, Conn, OrderStatus, sql::sql};

/// An order without its lines, with what its newest payment says.
#[derive(Debug, Clone, QueryableByName)]
pub struct OrderRow {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Number, as people see it.
    #[diesel(sql_type = BigInt)]
    pub number: i64,
    /// The registered customer; none for a guest.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub customer_id: Option<Uuid>,
    /// SHA-256 of the guest's token.
    #[diesel(sql_type = Nullable<Bytea>)]
    pub guest_token_hash: Option<Vec<u8>>,
    /// Where mails go.
    #[diesel(sql_type = Text)]
    pub email: String,
    /// The buyer's own reference.
    #[diesel(sql_type = Nullable<Text>)]
    pub reference: Option<String>,
    /// Status.
    #[diesel(sql_type = Text)]
    pub status: OrderStatus,
    /// Where the checkout stands.
    #[diesel(sql_type = Text)]
    pub step: CheckoutStep,
    /// Why, as a stable code.
    #[diesel(sql_type = Nullable<Text>)]
    pub reason_code: Option<String>,
    /// Why, for people.
    #[diesel(sql_type = Nullable<Text>)]
    pub reason: Option<String>,
    /// Currency code.
    #[diesel(sql_type = Text)]
    pub currency: String,
    /// Sum of the lines.
    #[diesel(sql_type = Numeric)]
    pub subtotal: Decimal,
    /// What is charged.
    #[diesel(sql_type = Numeric)]
    pub total: Decimal,
    /// Address.
    #[diesel(sql_type = Jsonb)]
    pub shipping_address: Value,
    /// Address.
    #[diesel(sql_type = Jsonb)]
    pub billing_address: Value,
    /// +1 with every change.
    #[diesel(sql_type = BigInt)]
    pub version: i64,
    /// When.
    #[diesel(sql_type = Timestamptz)]
    pub placed_at: DateTime<Utc>,
    /// When it last changed.
    #[diesel(sql_type = Timestamptz)]
    pub updated_at: DateTime<Utc>,
    /// When it was confirmed.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When it was cancelled.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Its newest payment.
    #[diesel(embed)]
    pub payment: PaymentSummary,
}

/// What an order's newest payment says.
#[derive(Debug, Clone, QueryableByName)]
pub struct PaymentSummary {
    /// Status.
    #[diesel(sql_type = Nullable<Text>)]
    pub payment_status: Option<String>,
    /// Taken.
    #[diesel(sql_type = Nullable<Numeric>)]
    pub captured: Option<Decimal>,
    /// Given back.
    #[diesel(sql_type = Nullable<Numeric>)]
    pub refunded: Option<Decimal>,
    /// Why the issuer refused.
    #[diesel(sql_type = Nullable<Text>)]
    pub decline_code: Option<String>,
}

/// A line as it was frozen.
#[derive(Debug, Clone, QueryableByName)]
pub struct LineRow {
    /// The order.
    #[diesel(sql_type = SqlUuid)]
    pub order_id: Uuid,
    /// From 1.
    #[diesel(sql_type = Integer)]
    pub position: i32,
    /// The variant.
    #[diesel(sql_type = SqlUuid)]
    pub variant_id: Uuid,
    /// SKU.
    #[diesel(sql_type = Text)]
    pub sku: String,
    /// Product name.
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
    /// Whether the price was agreed for this order.
    #[diesel(sql_type = Bool)]
    pub agreed: bool,
}

/// Filters of a list of orders; `None` does not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this customer's.
    pub customer_id: Option<Uuid>,
    /// Only in this status.
    pub status: Option<OrderStatus>,
    /// Only with this reference of the buyer's.
    pub reference: Option<String>,
    /// Only the one of this number.
    pub number: Option<i64>,
    /// Only older than this order: the cursor.
    pub before: Option<Uuid>,
}

macro_rules! select_orders {
    ($rest:literal) => {
        concat!(
            "select o.id, o.number, o.customer_id, o.guest_token_hash, o.email, o.reference, o.status, o.step,
                    o.reason_code, o.reason, o.currency::text as currency, o.subtotal, o.total, o.shipping_address,
                    o.billing_address, o.version, o.placed_at, o.updated_at, o.confirmed_at, o.cancelled_at,
                    p.status as payment_status, p.captured, p.refunded, p.decline_code
             from orders o
             left join lateral (select status, captured, refunded, decline_code from payments
                                where order_id = o.id order by id desc limit 1) p on true ",
            $rest
        )
    };
}

/// One order, whoever it belongs to: for administrators, and for callers who check the owner themselves.
pub async fn any(conn: &Conn, id: Uuid) -> QueryResult<Option<OrderRow>> {
    sql(select_orders!("where o.id = $1")).bind::<SqlUuid, _>(id).get_result(&mut &*conn).await.optional()
}

/// One order of a customer's.
pub async fn for_customer(conn: &Conn, customer_id: Uuid, id: Uuid) -> QueryResult<Option<OrderRow>> {
    sql(select_orders!("where o.id = $1 and o.customer_id = $2"))
        .bind::<SqlUuid, _>(id)
        .bind::<SqlUuid, _>(customer_id)
        .get_result(&mut &*conn)
        .await
        .optional()
}

/// One order of a guest's who holds its token.
pub async fn for_guest(conn: &Conn, token_hash: &[u8], id: Uuid) -> QueryResult<Option<OrderRow>> {
    sql(select_orders!("where o.id = $1 and o.guest_token_hash = $2"))
        .bind::<SqlUuid, _>(id)
        .bind::<Bytea, _>(token_hash)
        .get_result(&mut &*conn)
        .await
        .optional()
}

/// The order that took a cart.
pub async fn of_cart(conn: &mut Conn, cart_id: Uuid) -> QueryResult<Option<OrderRow>> {
    sql(select_orders!("where o.cart_id = $1")).bind::<SqlUuid, _>(cart_id).get_result(conn).await.optional()
}

/// Several orders, whoever they belong to, in no order; unknown ones are missing.
pub async fn many(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<OrderRow>> {
    sql(select_orders!("where o.id = any((select $1)::uuid[])"))
        .bind::<Array<SqlUuid>, _>(ids)
        .load(conn)
        .await
}

/// Orders, newest first.
pub async fn list(conn: &mut Conn, filter: &Filter, limit: i64) -> QueryResult<Vec<OrderRow>> {
    // A statement per leading filter: one for all would get a plan that serves none, once it is prepared.
    let before = filter.before.unwrap_or(Uuid::max());
    let status = filter.status.map(OrderStatus::as_str);
    if let Some(number) = filter.number {
        return sql(select_orders!(
            "where o.number = $1 and o.id < $2 and ($3::text is null or o.status = $3)
               and ($4::uuid is null or o.customer_id = $4) and ($5::text is null or o.reference = $5) limit $6"
        ))
        .bind::<BigInt, _>(number)
        .bind::<SqlUuid, _>(before)
        .bind::<Nullable<Text>, _>(status)
        .bind::<Nullable<SqlUuid>, _>(filter.customer_id)
        .bind::<Nullable<Text>, _>(filter.reference.as_deref())
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await;
    }
    match (filter.customer_id, filter.reference.as_deref()) {
        (Some(customer_id), reference) => {
            sql(select_orders!(
                "where o.customer_id = $1 and o.id < $2 and ($3::text is null or o.status = $3)
                   and ($4::text is null or o.reference = $4)
                 order by o.id desc limit $5"
            ))
            .bind::<SqlUuid, _>(customer_id)
            .bind::<SqlUuid, _>(before)
            .bind::<Nullable<Text>, _>(status)
            .bind::<Nullable<Text>, _>(reference)
            .bind::<BigInt, _>(limit)
            .load(conn)
            .await
        }
        (None, Some(reference)) => {
            sql(select_orders!(
                "where o.reference = $1 and o.id < $2 and ($3::text is null or o.status = $3)
                 order by o.id desc limit $4"
            ))
            .bind::<Text, _>(reference)
            .bind::<SqlUuid, _>(before)
            .bind::<Nullable<Text>, _>(status)
            .bind::<BigInt, _>(limit)
            .load(conn)
            .await
        }
        (None, None) => {
            sql(select_orders!(
                "where o.id < $1 and ($2::text is null or o.status = $2) order by o.id desc limit $3"
            ))
            .bind::<SqlUuid, _>(before)
            .bind::<Nullable<Text>, _>(status)
            .bind::<BigInt, _>(limit)
            .load(conn)
            .await
        }
    }
}

/// The lines of several orders in one query, by order and position.
pub async fn lines(conn: &Conn, order_ids: &[Uuid]) -> QueryResult<Vec<LineRow>> {
    // The subquery keeps Postgres from planning anew for every array: see `carts::lines::offers`.
    sql("select order_id, position, variant_id, sku, name, quantity, unit_price, total, agreed
         from order_lines where order_id = any((select $1)::uuid[]) order by order_id, position")
    .bind::<Array<SqlUuid>, _>(order_ids)
    .load(&mut &*conn)
    .await
}

/// The version of each order that is newer than the one its watcher has seen.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct VersionRow {
    /// The order.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its version now.
    #[diesel(sql_type = BigInt)]
    pub version: i64,
}

/// The versions of many orders in one query: what a process asks on behalf of all its streams at once.
pub async fn versions(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<VersionRow>> {
    sql("select id, version from orders where id = any((select $1)::uuid[])")
        .bind::<Array<SqlUuid>, _>(ids)
        .load(conn)
        .await
}
