//! Writing products.

use diesel::{
    AsChangeset, ExpressionMethods, OptionalExtension, QueryDsl, QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Integer, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::ProductStatus;
use crate::{Conn, new_id, sql, tables::products};

/// A product to be made, without its variants.
#[derive(Debug, Clone)]
pub struct NewProduct {
    /// Unique name in URLs. If `slug_given` is false a number is added where it is taken.
    pub slug: String,
    /// Whether somebody chose the slug.
    pub slug_given: bool,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Brand.
    pub brand: Option<String>,
    /// Status.
    pub status: ProductStatus,
    /// Whether the shop shows it first.
    pub featured: bool,
    /// Free attributes, an object.
    pub attributes: Value,
    /// Tax class.
    pub tax_class: String,
    /// Weight in grams.
    pub weight_grams: Option<i32>,
    /// Length in millimetres.
    pub length_mm: Option<i32>,
    /// Width in millimetres.
    pub width_mm: Option<i32>,
    /// Height in millimetres.
    pub height_mm: Option<i32>,
}

/// What changes of a product; the inner `None` clears.
#[derive(Debug, Clone, Default, AsChangeset)]
#[diesel(table_name = products)]
pub struct ProductChange {
    /// Unique name in URLs.
    pub slug: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Brand.
    pub brand: Option<Option<String>>,
    /// Status.
    pub status: Option<ProductStatus>,
    /// Whether the shop shows it first.
    pub featured: Option<bool>,
    /// Free attributes, an object.
    pub attributes: Option<Value>,
    /// Tax class.
    pub tax_class: Option<String>,
    /// Weight in grams.
    pub weight_grams: Option<Option<i32>>,
    /// Length in millimetres.
    pub length_mm: Option<Option<i32>>,
    /// Width in millimetres.
    pub width_mm: Option<Option<i32>>,
    /// Height in millimetres.
    pub height_mm: Option<Option<i32>>,
}

/// Tries with a number behind the slug before a random one.
const SLUG_TRIES: u32 = 20;

/// Makes a product; none if the slug that was chosen is taken.
pub async fn insert(conn: &mut Conn, new: &NewProduct) -> QueryResult<Option<Uuid>> {
    let id = new_id();
    let mut slug = new.slug.clone();
    for number in 2..=SLUG_TRIES + 2 {
        let inserted = diesel::insert_into(products::table)
            .values((
                products::id.eq(id),
                products::slug.eq(&slug),
                products::name.eq(&new.name),
                products::description.eq(&new.description),
                products::brand.eq(&new.brand),
                products::status.eq(new.status),
                products::featured.eq(new.featured),
                products::attributes.eq(&new.attributes),
                products::tax_class.eq(&new.tax_class),
                products::weight_grams.eq(new.weight_grams),
                products::length_mm.eq(new.length_mm),
                products::width_mm.eq(new.width_mm),
                products::height_mm.eq(new.height_mm),
            ))
            .on_conflict(products::slug)
            .do_nothing()
            .execute(conn)
            .await?;
        if inserted == 1 {
            return Ok(Some(id));
        }
        if new.slug_given {
            return Ok(None);
        }
        slug = if number <= SLUG_TRIES {
            format!("{}-{number}", new.slug)
        } else {
            // The last digits of a UUIDv7 are random.
            format!("{}-{}", new.slug, &id.simple().to_string()[20..])
        };
    }
    Ok(None)
}

/// Changes a product's own columns; false if there is no such. Call [`touch`] in the same transaction.
pub async fn update(conn: &mut Conn, id: Uuid, change: &ProductChange) -> QueryResult<bool> {
    let updated = diesel::update(products::table.find(id))
        .set((change, products::updated_at.eq(diesel::dsl::now)))
        .execute(conn)
        .await?;
    Ok(updated == 1)
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = BigInt)]
    version: i64,
}

/// Locks a product until the transaction ends, so that its writers take turns; its version, or none.
pub async fn lock(conn: &mut Conn, id: Uuid) -> QueryResult<Option<i64>> {
    let row: Option<Version> = sql("select version from products where id = $1 for update")
        .bind::<SqlUuid, _>(id)
        .get_result(conn)
        .await
        .optional()?;
    Ok(row.map(|row| row.version))
}

/// A product's version after a change.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct Touched {
    /// The product.
    #[diesel(sql_type = SqlUuid)]
    pub product_id: Uuid,
    /// Its version now.
    #[diesel(sql_type = BigInt)]
    pub version: i64,
}

/// Ends every change of products or their variants: version + 1 and the range of active variants' prices. Call it last in
/// the transaction of the change, and emit `ProductUpdated` for what it answers.
pub async fn touch(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<Touched>> {
    sql("update products p set version = p.version + 1, updated_at = now(), price_min = r.low, price_max = r.high
         from (select t.id, min(v.price) as low, max(v.price) as high
               from unnest($1) as t(id) left join variants v on v.product_id = t.id and v.active group by t.id) r
         where p.id = r.id returning p.id as product_id, p.version")
    .bind::<Array<SqlUuid>, _>(ids)
    .load(conn)
    .await
}

/// Puts a product into exactly these categories.
pub async fn set_categories(conn: &mut Conn, id: Uuid, categories: &[Uuid]) -> QueryResult<()> {
    sql("with gone as (delete from product_categories where product_id = $1 and category_id <> all($2))
         insert into product_categories (product_id, category_id)
         select $1, c from unnest($2) as c on conflict do nothing")
    .bind::<SqlUuid, _>(id)
    .bind::<Array<SqlUuid>, _>(categories)
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives a product exactly these options, in this order.
pub async fn set_options(conn: &mut Conn, id: Uuid, names: &[String]) -> QueryResult<()> {
    sql("with gone as (delete from product_options where product_id = $1 and name <> all($2))
         insert into product_options (product_id, name, position)
         select $1, name, place - 1 from unnest($2, $3) as t(name, place)
         on conflict (product_id, name) do update set position = excluded.position")
    .bind::<SqlUuid, _>(id)
    .bind::<Array<Text>, _>(names)
    .bind::<Array<Integer>, _>((1..).take(names.len()).collect::<Vec<i32>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes a product with its variants; false if there is no such.
pub async fn delete(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    Ok(diesel::delete(products::table.find(id)).execute(conn).await? == 1)
}
