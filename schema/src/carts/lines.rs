//! What lies in a cart, priced as the catalogue stands now.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Bool, Integer, Numeric, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::{Conn, Quantity, Sku, sql::sql};

/// Something that can be bought, with its price and what is left of it.
#[derive(Debug, Clone, QueryableByName)]
pub struct Offer {
    /// The variant.
    #[diesel(sql_type = SqlUuid)]
    pub variant_id: Uuid,
    /// Its product.
    #[diesel(sql_type = SqlUuid)]
    pub product_id: Uuid,
    /// SKU.
    #[diesel(sql_type = Text)]
    pub sku: String,
    /// Product name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Variant title.
    #[diesel(sql_type = Text)]
    pub title: String,
    /// Price of one.
    #[diesel(sql_type = Numeric)]
    pub price: Decimal,
    /// Its currency.
    #[diesel(sql_type = Text)]
    pub currency: String,
    /// Whether product and variant are on sale.
    #[diesel(sql_type = Bool)]
    pub on_sale: bool,
    /// Pieces available over all active locations.
    #[diesel(sql_type = BigInt)]
    pub available: i64,
    /// Whether it may be sold beyond that.
    #[diesel(sql_type = Bool)]
    pub backorder: bool,
}

/// A line of a cart.
#[derive(Debug, Clone, QueryableByName)]
pub struct CartLine {
    /// What.
    #[diesel(embed)]
    pub offer: Offer,
    /// How many.
    #[diesel(sql_type = Integer)]
    pub quantity: i32,
}

macro_rules! offer_columns {
    () => {
        "v.id as variant_id, v.product_id, v.sku, p.name, v.title, v.price, v.currency::text as currency,
         (v.active and p.status = 'active') as on_sale,
         coalesce(s.available, 0)::bigint as available, coalesce(s.backorder, false) as backorder"
    };
}

macro_rules! offer_joins {
    () => {
        " join products p on p.id = v.product_id
          left join lateral (
              select sum(l.on_hand - l.reserved) as available, bool_or(l.backorder) as backorder
              from stock_levels l join locations w on w.id = l.location_id and w.active
              where l.variant_id = v.id) s on true "
    };
}

/// The offers behind some SKUs; unknown ones are missing from the answer.
pub async fn offers(conn: &Conn, skus: &[&str]) -> QueryResult<Vec<Offer>> {
    // Postgres would plan this anew for every array it can look into, as a short one is cheaper than its guess: 0.28 ms
    // each time against 0.04 ms with the plan kept. It cannot look into a subquery.
    sql(concat!(
        "select ",
        offer_columns!(),
        " from variants v ",
        offer_joins!(),
        " where v.sku = any((select $1)::text[])"
    ))
    .bind::<Array<Text>, _>(skus)
    .load(&mut &*conn)
    .await
}

/// The lines of a cart, oldest first.
pub async fn of_cart(conn: &Conn, cart_id: Uuid) -> QueryResult<Vec<CartLine>> {
    sql(concat!(
        "select ",
        offer_columns!(),
        ", c.quantity from cart_lines c join variants v on v.id = c.variant_id ",
        offer_joins!(),
        " where c.cart_id = $1 order by c.added_at, v.id"
    ))
    .bind::<SqlUuid, _>(cart_id)
    .load(&mut &*conn)
    .await
}

/// Sets the quantity of a variant.
pub async fn set(conn: &mut Conn, cart_id: Uuid, variant_id: Uuid, quantity: Quantity) -> QueryResult<()> {
    sql("insert into cart_lines (cart_id, variant_id, quantity) values ($1, $2, $3)
         on conflict (cart_id, variant_id) do update set quantity = excluded.quantity")
    .bind::<SqlUuid, _>(cart_id)
    .bind::<SqlUuid, _>(variant_id)
    .bind::<Integer, _>(quantity.get())
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a SKU out; `false` if it was not there.
pub async fn remove(conn: &mut Conn, cart_id: Uuid, sku: &Sku) -> QueryResult<bool> {
    let removed = sql(
        "delete from cart_lines c using variants v where c.cart_id = $1 and v.id = c.variant_id and v.sku = $2",
    )
    .bind::<SqlUuid, _>(cart_id)
    .bind::<Text, _>(sku.as_str())
    .execute(conn)
    .await?;
    Ok(removed > 0)
}

/// Takes everything out.
pub async fn clear(conn: &mut Conn, cart_id: Uuid) -> QueryResult<usize> {
    sql("delete from cart_lines where cart_id = $1").bind::<SqlUuid, _>(cart_id).execute(conn).await
}
