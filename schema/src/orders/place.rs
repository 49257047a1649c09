//! Placing an order: everything that will ever be asked of it is frozen here.

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    result::{DatabaseErrorKind, Error as DieselError},
    sql_types::{
        Array, BigInt, Bool, Bytea, Integer, Jsonb, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid,
    },
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::{Conn, Email, Money, Quantity, UnitPrice, new_id, sql::sql};

/// A line with what it cost at the moment of the order.
#[derive(Debug, Clone)]
pub struct NewLine {
    /// The variant sold.
    pub variant_id: Uuid,
    /// Its product.
    pub product_id: Uuid,
    /// Its SKU then.
    pub sku: String,
    /// The product's name then.
    pub name: String,
    /// The variant's title then.
    pub variant_title: String,
    /// Pieces.
    pub quantity: Quantity,
    /// Price of one then.
    pub unit_price: UnitPrice,
    /// Whether that price was agreed for this order rather than taken from the catalogue.
    pub agreed: bool,
    /// Unit price x quantity, rounded by [`UnitPrice::line_total`].
    pub total: Money,
}

/// An order that may be placed.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// Its id; the job that carries it is enqueued for the same id.
    pub id: Uuid,
    /// The registered customer, if any.
    pub customer_id: Option<Uuid>,
    /// SHA-256 of the token that lets a guest read it.
    pub guest_token_hash: Option<Vec<u8>>,
    /// Where the confirmation goes.
    pub email: Email,
    /// The cart it came from, which the caller has taken.
    pub cart_id: Option<Uuid>,
    /// The buyer's own reference.
    pub reference: Option<String>,
    /// Sum of the lines.
    pub subtotal: Money,
    /// What is charged.
    pub total: Money,
    /// Address, as the API takes it.
    pub shipping_address: Value,
    /// Address, as the API takes it.
    pub billing_address: Value,
    /// The lines, at least one.
    pub lines: Vec<NewLine>,
    /// The payment gateway by name.
    pub gateway: String,
    /// The gateway's token for the buyer's means of payment.
    pub method_token: String,
    /// Who placed it, for the history: `customer`, `guest`, `api_key:<id>`.
    pub actor: String,
}

/// What placing gave.
#[derive(Debug, Clone, QueryableByName)]
pub struct Placed {
    /// The order's number.
    #[diesel(sql_type = BigInt)]
    pub number: i64,
    /// When.
    #[diesel(sql_type = Timestamptz)]
    pub placed_at: DateTime<Utc>,
}

/// Why an order was not placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// An order of this cart exists: it was not taken with [`crate::carts::take`] first.
    #[error("the cart has an order already")]
    CartTaken,
    /// No lines.
    #[error("an order needs at least one line")]
    Empty,
    /// The insert failed.
    #[error(transparent)]
    Database(#[from] DieselError),
}

/// Writes the order, its lines, its first history entry and its payment (pending) in the transaction open on `conn`. A cart
/// must have been taken with [`crate::carts::take`] in the same transaction.
pub async fn place(conn: &mut Conn, order: &NewOrder) -> Result<Placed, PlaceError> {
    if order.lines.is_empty() {
        return Err(PlaceError::Empty);
    }
    let lines = &order.lines;
    // One statement, so one round trip: four inserts that stand or fall together anyway.
    sql(
        "with placed as (
             insert into orders (id, customer_id, guest_token_hash, email, cart_id, reference, currency, subtotal, total,
                                 shipping_address, billing_address)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             returning id, number, placed_at, version, status, step),
         line as (
             insert into order_lines (order_id, position, variant_id, product_id, sku, name, variant_title, quantity,
                                      unit_price, agreed, total)
             select $1, place, variant_id, product_id, sku, name, variant_title, quantity, unit_price, agreed, total
             from unnest($12, $13, $14, $15, $16, $17, $18, $19, $20) with ordinality
                  as t(variant_id, product_id, sku, name, variant_title, quantity, unit_price, agreed, total, place)),
         paid as (
             insert into payments (id, order_id, gateway, method_token, amount, currency)
             values ($21, $1, $22, $23, $9, $7)),
         told as (
             insert into order_history (order_id, version, at, status, step, actor)
             select id, version, placed_at, status, step, $24 from placed)
         select number, placed_at from placed",
    )
    .bind::<SqlUuid, _>(order.id)
    .bind::<Nullable<SqlUuid>, _>(order.customer_id)
    .bind::<Nullable<Bytea>, _>(order.guest_token_hash.as_deref())
    .bind::<Text, _>(order.email.as_str())
    .bind::<Nullable<SqlUuid>, _>(order.cart_id)
    .bind::<Nullable<Text>, _>(order.reference.as_deref())
    .bind::<Text, _>(order.total.currency().as_str())
    .bind::<Numeric, _>(order.subtotal.amount())
    .bind::<Numeric, _>(order.total.amount())
    .bind::<Jsonb, _>(&order.shipping_address)
    .bind::<Jsonb, _>(&order.billing_address)
    .bind::<Array<SqlUuid>, _>(lines.iter().map(|l| l.variant_id).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(lines.iter().map(|l| l.product_id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(lines.iter().map(|l| l.sku.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(lines.iter().map(|l| l.name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(lines.iter().map(|l| l.variant_title.as_str()).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(lines.iter().map(|l| l.quantity.get()).collect::<Vec<_>>())
    .bind::<Array<Numeric>, _>(lines.iter().map(|l| l.unit_price.amount()).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(lines.iter().map(|l| l.agreed).collect::<Vec<_>>())
    .bind::<Array<Numeric>, _>(lines.iter().map(|l| l.total.amount()).collect::<Vec<_>>())
    .bind::<SqlUuid, _>(new_id())
    .bind::<Text, _>(&order.gateway)
    .bind::<Text, _>(&order.method_token)
    .bind::<Text, _>(&order.actor)
    .get_result(conn)
    .await
    .map_err(|error| match error {
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, ref info)
            if info.constraint_name() == Some("orders_cart_id_key") =>
        {
            PlaceError::CartTaken
        }
        other => PlaceError::Database(other),
    })
}

#[derive(QueryableByName)]
struct Buyer {
    #[diesel(sql_type = Text)]
    email: String,
}

/// Where a customer's mails go; none if there is no such active customer.
pub async fn buyer_email(conn: &Conn, customer_id: Uuid) -> QueryResult<Option<String>> {
    let buyer: Option<Buyer> = sql("select email from users where id = $1 and status = 'active'")
        .bind::<SqlUuid, _>(customer_id)
        .get_result(&mut &*conn)
        .await
        .optional()?;
    Ok(buyer.map(|buyer| buyer.email))
}
