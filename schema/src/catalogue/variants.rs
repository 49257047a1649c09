//! Writing variants.

use diesel::{
    AsChangeset, ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, QueryableByName,
    sql_types::{Array, Bool, Integer, Jsonb, Nullable, Numeric, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use crate::{Conn, Sku, UnitPrice, new_id, sql, tables::variants};

/// A variant to be made.
#[derive(Debug, Clone)]
pub struct NewVariant {
    /// Stock keeping unit.
    pub sku: Sku,
    /// What tells it from the others.
    pub title: String,
    /// Price of one.
    pub price: UnitPrice,
    /// Price before a reduction, in the same currency.
    pub compare_at_price: Option<Decimal>,
    /// Value of each option, an object of texts.
    pub option_values: Value,
    /// Place among the variants.
    pub position: i32,
    /// Whether it is on sale.
    pub active: bool,
}

/// What changes of a variant; the inner `None` clears.
#[derive(Debug, Clone, Default, AsChangeset)]
#[diesel(table_name = variants)]
pub struct VariantChange {
    /// Stock keeping unit.
    pub sku: Option<String>,
    /// What tells it from the others.
    pub title: Option<String>,
    /// Price of one.
    pub price: Option<Decimal>,
    /// Currency of the price.
    pub currency: Option<String>,
    /// Price before a reduction.
    pub compare_at_price: Option<Option<Decimal>>,
    /// Value of each option, an object of texts.
    pub option_values: Option<Value>,
    /// Place among the variants.
    pub position: Option<i32>,
    /// Whether it is on sale.
    pub active: Option<bool>,
}

/// Adds variants to a product in one statement; answers their ids in order.
pub async fn insert(conn: &mut Conn, product: Uuid, new: &[NewVariant]) -> QueryResult<Vec<Uuid>> {
    let ids: Vec<Uuid> = new.iter().map(|_| new_id()).collect();
    sql("insert into variants (id, product_id, sku, title, price, currency, compare_at_price, option_values, position, active)
         select id, $1, sku, title, price, currency, compare, options, place, active
         from unnest($2, $3, $4, $5, $6, $7, $8, $9, $10)
              as t(id, sku, title, price, currency, compare, options, place, active)")
    .bind::<SqlUuid, _>(product)
    .bind::<Array<SqlUuid>, _>(&ids)
    .bind::<Array<Text>, _>(new.iter().map(|v| v.sku.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|v| v.title.as_str()).collect::<Vec<_>>())
    .bind::<Array<Numeric>, _>(new.iter().map(|v| v.price.amount()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|v| v.price.currency().to_string()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Numeric>>, _>(new.iter().map(|v| v.compare_at_price).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(new.iter().map(|v| &v.option_values).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(new.iter().map(|v| v.position).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(new.iter().map(|v| v.active).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(ids)
}

#[derive(QueryableByName)]
struct Taken {
    #[diesel(sql_type = Text)]
    sku: String,
}

/// Those of `skus` that a variant has, `except` apart.
pub async fn taken_skus(conn: &mut Conn, skus: &[&str], except: Option<Uuid>) -> QueryResult<Vec<String>> {
    let rows: Vec<Taken> =
        sql("select sku from variants where sku = any($1) and ($2::uuid is null or id <> $2)")
            .bind::<Array<Text>, _>(skus)
            .bind::<Nullable<SqlUuid>, _>(except)
            .load(conn)
            .await?;
    Ok(rows.into_iter().map(|row| row.sku).collect())
}

/// The product of a variant; none if there is no such variant.
pub async fn product_of(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Uuid>> {
    variants::table.find(id).select(variants::product_id).first(conn).await.optional()
}

/// Changes a variant; false if there is no such. Touch its product in the same transaction.
pub async fn update(conn: &mut Conn, id: Uuid, change: &VariantChange) -> QueryResult<bool> {
    let updated = diesel::update(variants::table.find(id))
        .set((change, variants::updated_at.eq(diesel::dsl::now)))
        .execute(conn)
        .await?;
    Ok(updated == 1)
}

/// Deletes a variant; false if there is no such. Touch its product in the same transaction.
pub async fn delete(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    Ok(diesel::delete(variants::table.find(id)).execute(conn).await? == 1)
}

/// Locks the stock of a product's variants (or of one of them) and answers whether any is on hand or reserved: such a
/// variant is not deleted, as its ledger would no longer sum to a level.
pub async fn has_stock(conn: &mut Conn, product: Uuid, variant: Option<Uuid>) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Stock {
        #[diesel(sql_type = Bool)]
        any: bool,
    }
    let rows: Vec<Stock> = sql("select (l.on_hand <> 0 or l.reserved <> 0) as any
         from variants v join stock_levels l on l.variant_id = v.id
         where v.product_id = $1 and ($2::uuid is null or v.id = $2)
         order by l.variant_id, l.location_id for update of l")
    .bind::<SqlUuid, _>(product)
    .bind::<Nullable<SqlUuid>, _>(variant)
    .load(conn)
    .await?;
    Ok(rows.iter().any(|row| row.any))
}
