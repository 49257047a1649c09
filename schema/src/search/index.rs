//! What is searched for: one document per product, and the table in which Postgres keeps them.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Bool, Jsonb, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use serde::Serialize;
use uuid::Uuid;

use crate::{Conn, sql};

/// A product as search engines know it.
#[derive(Debug, Clone, PartialEq, Serialize, QueryableByName)]
pub struct Document {
    /// The product.
    #[diesel(sql_type = SqlUuid)]
    pub product_id: Uuid,
    /// The product's version. Together with `stock_version` it says which of two documents is the newer one.
    #[diesel(sql_type = BigInt)]
    pub version: i64,
    /// Sum of the versions of its stock levels: grows with every move of stock, which leaves `version` alone.
    #[diesel(sql_type = BigInt)]
    pub stock_version: i64,
    /// Slug.
    #[diesel(sql_type = Text)]
    pub slug: String,
    /// Name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Brand.
    #[diesel(sql_type = Nullable<Text>)]
    pub brand: Option<String>,
    /// Description, its first 50,000 characters.
    #[diesel(sql_type = Text)]
    pub description: String,
    /// draft, active, inactive, discontinued.
    #[diesel(sql_type = Text)]
    pub status: String,
    /// Its categories and all their ancestors.
    #[diesel(sql_type = Array<SqlUuid>)]
    pub category_ids: Vec<Uuid>,
    /// The names of the same.
    #[diesel(sql_type = Array<Text>)]
    pub category_names: Vec<String>,
    /// SKUs of its active variants.
    #[diesel(sql_type = Array<Text>)]
    pub skus: Vec<String>,
    /// Lowest price of its variants.
    #[diesel(sql_type = Nullable<Numeric>)]
    pub price_min: Option<Decimal>,
    /// Highest price of its variants.
    #[diesel(sql_type = Nullable<Numeric>)]
    pub price_max: Option<Decimal>,
    /// Whether any active variant can be bought now.
    #[diesel(sql_type = Bool)]
    pub in_stock: bool,
    /// Created.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
}

/// The newest documents of these products; those that are gone are missing.
pub async fn documents(conn: &mut Conn, product_ids: &[Uuid]) -> QueryResult<Vec<Document>> {
    // One statement, so one snapshot: version, stock and prices of a document belong together.
    sql("with recursive up (product_id, category_id) as (
             select product_id, category_id from product_categories where product_id = any($1)
             union
             select up.product_id, c.parent_id from up join categories c on c.id = up.category_id
             where c.parent_id is not null),
         stock as (
             select v.product_id, v.id, v.sku, v.active, coalesce(sum(s.version), 0) as version,
                    coalesce(bool_or(s.backorder) filter (where l.active), false)
                    or coalesce(sum(s.on_hand - s.reserved) filter (where l.active), 0) > 0 as available
             from variants v left join stock_levels s on s.variant_id = v.id
             left join locations l on l.id = s.location_id
             where v.product_id = any($1) group by v.id)
         select p.id as product_id, p.version, p.slug, p.name, p.brand, left(p.description, 50000) as description,
                p.status, p.price_min, p.price_max, p.created_at,
                coalesce(sum(s.version), 0)::bigint as stock_version,
                coalesce(bool_or(s.active and s.available), false) as in_stock,
                coalesce(array_agg(s.sku order by s.sku) filter (where s.active), '{}') as skus,
                array(select category_id from up where up.product_id = p.id order by 1) as category_ids,
                array(select c.name from up join categories c on c.id = up.category_id
                      where up.product_id = p.id order by c.id) as category_names
         from products p left join stock s on s.product_id = p.id
         where p.id = any($1) group by p.id")
    .bind::<Array<SqlUuid>, _>(product_ids)
    .load(conn)
    .await
}

/// What a document may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Those of older states of the product.
    Older,
    /// Also one of the same state: what it says of categories, or how, may have changed.
    Same,
}

/// Writes documents into Postgres' own index, except over those that they may not replace; returns how many were written.
///
/// Name and SKUs weigh most (A), then brand (B), then description (C), then the names of categories (D). SKUs are taken as
/// they are, the rest is stemmed as English.
pub async fn upsert(conn: &mut Conn, documents: &[Document], over: Over) -> QueryResult<usize> {
    if documents.is_empty() {
        return Ok(0);
    }
    let json = serde_json::to_value(documents)
        .map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    // In order of id, so that two writers do not wait for each other in a circle.
    sql("insert into product_search (product_id, version, stock_version, name, brand, status, category_ids, price_min,
                                     price_max, in_stock, words, document, created_at)
         select d.product_id, d.version, d.stock_version, d.name, d.brand, d.status, d.category_ids, d.price_min,
                d.price_max, d.in_stock, concat_ws(' ', d.name, array_to_string(d.skus, ' '), d.brand),
                setweight(to_tsvector('english', d.name), 'A')
                || setweight(to_tsvector('simple', array_to_string(d.skus, ' ')), 'A')
                || setweight(to_tsvector('english', coalesce(d.brand, '')), 'B')
                || setweight(to_tsvector('english', d.description), 'C')
                || setweight(to_tsvector('english', array_to_string(d.category_names, ' ')), 'D'),
                d.created_at
         from jsonb_to_recordset($1) as d(
             product_id uuid, version bigint, stock_version bigint, name text, brand text, description text, status text,
             category_ids uuid[], category_names text[], skus text[], price_min numeric, price_max numeric, in_stock boolean,
             created_at timestamptz)
         join products p on p.id = d.product_id
         order by d.product_id
         on conflict (product_id) do update set
             version = excluded.version, stock_version = excluded.stock_version, name = excluded.name,
             brand = excluded.brand, status = excluded.status, category_ids = excluded.category_ids,
             price_min = excluded.price_min, price_max = excluded.price_max, in_stock = excluded.in_stock,
             words = excluded.words, document = excluded.document, created_at = excluded.created_at,
             indexed_at = now()
         where (excluded.version, excluded.stock_version) > (product_search.version, product_search.stock_version)
            or $2 and (excluded.version, excluded.stock_version) = (product_search.version, product_search.stock_version)")
    .bind::<Jsonb, _>(json)
    .bind::<Bool, _>(over == Over::Same)
    .execute(conn)
    .await
}

/// Removes products from Postgres' own index.
pub async fn delete(conn: &mut Conn, product_ids: &[Uuid]) -> QueryResult<usize> {
    sql("delete from product_search where product_id = any($1)")
        .bind::<Array<SqlUuid>, _>(product_ids)
        .execute(conn)
        .await
}
