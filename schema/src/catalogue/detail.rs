//! One product with everything that belongs to it: four statements, however many variants it has.

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{BigInt, Bool, Integer, Jsonb, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use super::{ProductStatus, categories::CategoryRef};
use crate::{Conn, sql};

/// A row of `products`.
#[derive(Debug, Clone, QueryableByName)]
pub struct ProductRow {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Unique name in URLs.
    #[diesel(sql_type = Text)]
    pub slug: String,
    /// Name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Description.
    #[diesel(sql_type = Text)]
    pub description: String,
    /// Brand.
    #[diesel(sql_type = Nullable<Text>)]
    pub brand: Option<String>,
    /// Status.
    #[diesel(sql_type = Text)]
    pub status: ProductStatus,
    /// Whether the shop shows it first.
    #[diesel(sql_type = Bool)]
    pub featured: bool,
    /// Free attributes, an object.
    #[diesel(sql_type = Jsonb)]
    pub attributes: Value,
    /// Tax class.
    #[diesel(sql_type = Text)]
    pub tax_class: String,
    /// Weight in grams.
    #[diesel(sql_type = Nullable<Integer>)]
    pub weight_grams: Option<i32>,
    /// Length in millimetres.
    #[diesel(sql_type = Nullable<Integer>)]
    pub length_mm: Option<i32>,
    /// Width in millimetres.
    #[diesel(sql_type = Nullable<Integer>)]
    pub width_mm: Option<i32>,
    /// Height in millimetres.
    #[diesel(sql_type = Nullable<Integer>)]
    pub height_mm: Option<i32>,
    /// The cheapest active variant's price.
    #[diesel(sql_type = Nullable<Numeric>)]
    pub price_min: Option<Decimal>,
    /// The dearest active variant's price.
    #[diesel(sql_type = Nullable<Numeric>)]
    pub price_max: Option<Decimal>,
    /// +1 with every change.
    #[diesel(sql_type = BigInt)]
    pub version: i64,
    /// When it was made.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    #[diesel(sql_type = Timestamptz)]
    pub updated_at: DateTime<Utc>,
}

/// A variant with what can be bought of it.
#[derive(Debug, Clone, QueryableByName)]
pub struct VariantRow {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Stock keeping unit.
    #[diesel(sql_type = Text)]
    pub sku: String,
    /// What tells it from the others.
    #[diesel(sql_type = Text)]
    pub title: String,
    /// Price of one.
    #[diesel(sql_type = Numeric)]
    pub price: Decimal,
    /// Currency code.
    #[diesel(sql_type = Text)]
    pub currency: String,
    /// Price before a reduction.
    #[diesel(sql_type = Nullable<Numeric>)]
    pub compare_at_price: Option<Decimal>,
    /// Value of each option, an object of texts.
    #[diesel(sql_type = Jsonb)]
    pub option_values: Value,
    /// Place among the variants.
    #[diesel(sql_type = Integer)]
    pub position: i32,
    /// Whether it is on sale.
    #[diesel(sql_type = Bool)]
    pub active: bool,
    /// Pieces available over all active locations.
    #[diesel(sql_type = BigInt)]
    pub available: i64,
    /// Whether it may be sold beyond that.
    #[diesel(sql_type = Bool)]
    pub backorder: bool,
}

/// A product with everything.
#[derive(Debug, Clone)]
pub struct ProductDetail {
    /// The product.
    pub product: ProductRow,
    /// Its categories, by name.
    pub categories: Vec<CategoryRef>,
    /// Its options' names, in their order.
    pub options: Vec<String>,
    /// Its variants, in their order.
    pub variants: Vec<VariantRow>,
}

macro_rules! product {
    () => {
        "select id, slug, name, description, brand, status, featured, attributes, tax_class, weight_grams, length_mm,
                width_mm, height_mm, price_min, price_max, version, created_at, updated_at from products "
    };
}

#[derive(QueryableByName)]
struct OptionName {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The product of an id, with everything.
pub async fn by_id(conn: &mut Conn, id: Uuid) -> QueryResult<Option<ProductDetail>> {
    let product = sql(concat!(product!(), "where id = $1"))
        .bind::<SqlUuid, _>(id)
        .get_result::<ProductRow>(conn)
        .await
        .optional()?;
    complete(conn, product, false).await
}

/// The product on sale of an id or a slug, with what is on sale of it.
pub async fn on_sale(conn: &mut Conn, key: &str) -> QueryResult<Option<ProductDetail>> {
    let product = match key.parse::<Uuid>() {
        Ok(id) => {
            sql(concat!(product!(), "where id = $1 and status = 'active'"))
                .bind::<SqlUuid, _>(id)
                .get_result::<ProductRow>(conn)
                .await
        }
        Err(_) => {
            sql(concat!(product!(), "where slug = $1 and status = 'active'"))
                .bind::<Text, _>(key)
                .get_result::<ProductRow>(conn)
                .await
        }
    };
    complete(conn, product.optional()?, true).await
}

async fn complete(
    conn: &mut Conn,
    product: Option<ProductRow>,
    on_sale: bool,
) -> QueryResult<Option<ProductDetail>> {
    let Some(product) = product else { return Ok(None) };
    let categories = sql(
        "select c.id, c.slug, c.name from product_categories pc join categories c on c.id = pc.category_id
         where pc.product_id = $1 and (c.active or not $2) order by c.name, c.id",
    )
    .bind::<SqlUuid, _>(product.id)
    .bind::<Bool, _>(on_sale)
    .load(conn)
    .await?;
    let options: Vec<OptionName> =
        sql("select name from product_options where product_id = $1 order by position, name")
            .bind::<SqlUuid, _>(product.id)
            .load(conn)
            .await?;
    let variants = sql(
        "select v.id, v.sku, v.title, v.price, v.currency::text as currency, v.compare_at_price, v.option_values,
                v.position, v.active, coalesce(s.available, 0)::bigint as available,
                coalesce(s.backorder, false) as backorder
         from variants v
         left join lateral (
             select sum(l.on_hand - l.reserved) as available, bool_or(l.backorder) as backorder
             from stock_levels l join locations w on w.id = l.location_id and w.active
             where l.variant_id = v.id) s on true
         where v.product_id = $1 and (v.active or not $2)
         order by v.position, v.id",
    )
    .bind::<SqlUuid, _>(product.id)
    .bind::<Bool, _>(on_sale)
    .load(conn)
    .await?;
    let options = options.into_iter().map(|option| option.name).collect();
    Ok(Some(ProductDetail { product, categories, options, variants }))
}
