//! The statements that write rows: inserts of what is new, updates of what differs.

use std::collections::{BTreeSet, HashMap, HashSet};

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, Bool, Integer, Jsonb, Nullable, Numeric, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::{Target, UpsertRow};
use crate::{Conn, new_id, sql};

type Placed<'r> = (&'r UpsertRow, &'r Target);

#[derive(QueryableByName)]
struct Product {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

#[derive(QueryableByName)]
struct Variant {
    #[diesel(sql_type = Text)]
    sku: String,
}

/// Products that are new; in the order of their slugs, so that two who make the same ones wait for each other in one
/// direction.
pub(super) async fn insert_products(conn: &mut Conn, telling: &[Placed<'_>]) -> QueryResult<()> {
    let new: Vec<&Placed<'_>> = telling.iter().filter(|(_, target)| target.new_product).collect();
    if new.is_empty() {
        return Ok(());
    }
    sql("insert into products (id, slug, name, description, brand, status, weight_grams)
         select id, slug, name, coalesce(description, ''), brand, coalesce(status, 'active'), weight_grams
         from unnest($1, $2, $3, $4, $5, $6, $7)
              as t(id, slug, name, description, brand, status, weight_grams)
         order by slug")
    .bind::<Array<SqlUuid>, _>(new.iter().map(|(_, target)| target.product_id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|(_, target)| target.slug.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|(row, _)| row.name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(
        new.iter().map(|(row, _)| row.description.as_deref()).collect::<Vec<_>>(),
    )
    .bind::<Array<Nullable<Text>>, _>(new.iter().map(|(row, _)| brand(row)).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(new.iter().map(|(row, _)| status(row)).collect::<Vec<_>>())
    .bind::<Array<Nullable<Integer>>, _>(
        new.iter().map(|(row, _)| row.weight_grams.flatten()).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Products that are known and differ; returns those.
pub(super) async fn update_products(conn: &mut Conn, telling: &[Placed<'_>]) -> QueryResult<BTreeSet<Uuid>> {
    let known: Vec<&Placed<'_>> = telling.iter().filter(|(_, target)| !target.new_product).collect();
    if known.is_empty() {
        return Ok(BTreeSet::new());
    }
    let changed: Vec<Product> = sql(
        "update products p set name = t.name, description = t.description, brand = t.brand, status = t.status,
                weight_grams = t.weight_grams
         from (select o.id, n.name, coalesce(n.description, o.description) as description,
                      case when n.has_brand then n.brand else o.brand end as brand,
                      coalesce(n.status, o.status) as status,
                      case when n.has_weight then n.weight else o.weight_grams end as weight_grams
               from unnest($1, $2, $3, $4, $5, $6, $7, $8)
                    as n(id, name, description, has_brand, brand, status, has_weight, weight)
               join products o on o.id = n.id) t
         where p.id = t.id and (p.name, p.description, p.brand, p.status, p.weight_grams)
               is distinct from (t.name, t.description, t.brand, t.status, t.weight_grams)
         returning p.id",
    )
    .bind::<Array<SqlUuid>, _>(known.iter().map(|(_, target)| target.product_id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(known.iter().map(|(row, _)| row.name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(known.iter().map(|(row, _)| row.description.as_deref()).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(known.iter().map(|(row, _)| row.brand.is_some()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(known.iter().map(|(row, _)| brand(row)).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(known.iter().map(|(row, _)| status(row)).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(known.iter().map(|(row, _)| row.weight_grams.is_some()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Integer>>, _>(known.iter().map(|(row, _)| row.weight_grams.flatten()).collect::<Vec<_>>())
    .load(conn)
    .await?;
    Ok(changed.into_iter().map(|product| product.id).collect())
}

/// Variants that are new, behind those that their product has.
pub(super) async fn insert_variants(conn: &mut Conn, placed: &[Placed<'_>]) -> QueryResult<()> {
    let new: Vec<&Placed<'_>> = placed.iter().filter(|(_, target)| target.new_variant).collect();
    if new.is_empty() {
        return Ok(());
    }
    let mut counts: HashMap<Uuid, i32> = HashMap::new();
    let places: Vec<i32> = new
        .iter()
        .map(|(_, target)| {
            let count = counts.entry(target.product_id).or_default();
            *count += 1;
            *count - 1
        })
        .collect();
    sql("insert into variants (id, product_id, sku, title, price, currency, compare_at_price, option_values, position)
         select t.id, t.product_id, sku, title, price, currency, compare_at_price, option_values,
                coalesce(o.next, 0) + place
         from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
              as t(id, product_id, sku, title, price, currency, compare_at_price, option_values, place)
         left join (select product_id, max(position) + 1 as next from variants where product_id = any($2)
                    group by product_id) o on o.product_id = t.product_id
         order by sku")
    .bind::<Array<SqlUuid>, _>(new.iter().map(|_| new_id()).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(new.iter().map(|(_, target)| target.product_id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|(row, _)| row.sku.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|(row, _)| title(row)).collect::<Vec<_>>())
    .bind::<Array<Numeric>, _>(new.iter().map(|(row, _)| row.price.amount()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|(row, _)| row.price.currency().to_string()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Numeric>>, _>(new.iter().map(|(row, _)| row.compare_at_price.flatten()).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(new.iter().map(|(row, _)| option_values(row)).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(&places)
    .execute(conn)
    .await?;
    Ok(())
}

/// Variants that are known and differ; returns their SKUs.
pub(super) async fn update_variants(conn: &mut Conn, placed: &[Placed<'_>]) -> QueryResult<HashSet<String>> {
    let known: Vec<&Placed<'_>> = placed.iter().filter(|(_, target)| !target.new_variant).collect();
    if known.is_empty() {
        return Ok(HashSet::new());
    }
    let changed: Vec<Variant> = sql(
        "update variants v set price = t.price, currency = t.currency, compare_at_price = t.compare_at_price,
                title = t.title, option_values = t.option_values, updated_at = now()
         from (select o.id, n.price, n.currency,
                      case when n.has_compare then n.compare_at_price else o.compare_at_price end as compare_at_price,
                      case when n.has_options then n.title else o.title end as title,
                      case when n.has_options then n.option_values else o.option_values end as option_values
               from unnest($1, $2, $3, $4, $5, $6, $7, $8)
                    as n(sku, price, currency, has_compare, compare_at_price, has_options, title, option_values)
               join variants o on o.sku = n.sku) t
         where v.id = t.id and (v.price, v.currency, v.compare_at_price, v.title, v.option_values)
               is distinct from (t.price, t.currency::char(3), t.compare_at_price, t.title, t.option_values)
         returning v.sku",
    )
    .bind::<Array<Text>, _>(known.iter().map(|(row, _)| row.sku.as_str()).collect::<Vec<_>>())
    .bind::<Array<Numeric>, _>(known.iter().map(|(row, _)| row.price.amount()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(known.iter().map(|(row, _)| row.price.currency().to_string()).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(known.iter().map(|(row, _)| row.compare_at_price.is_some()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Numeric>>, _>(known.iter().map(|(row, _)| row.compare_at_price.flatten()).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(known.iter().map(|(row, _)| row.options.is_some()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(known.iter().map(|(row, _)| title(row)).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(known.iter().map(|(row, _)| option_values(row)).collect::<Vec<_>>())
    .load(conn)
    .await?;
    Ok(changed.into_iter().map(|variant| variant.sku).collect())
}

/// Options that products do not have yet, in the order of the file's columns.
pub(super) async fn insert_options(conn: &mut Conn, placed: &[Placed<'_>]) -> QueryResult<()> {
    let named: BTreeSet<(Uuid, i32, &str)> = placed
        .iter()
        .flat_map(|(row, target)| {
            let options = row.options.iter().flatten();
            (0..).zip(options).map(|(place, (name, _))| (target.product_id, place, name.as_str()))
        })
        .collect();
    if named.is_empty() {
        return Ok(());
    }
    sql("insert into product_options (product_id, name, position) select * from unnest($1, $2, $3)
         on conflict do nothing")
    .bind::<Array<SqlUuid>, _>(named.iter().map(|option| option.0).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(named.iter().map(|option| option.2).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(named.iter().map(|option| option.1).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

fn brand(row: &UpsertRow) -> Option<&str> {
    row.brand.as_ref()?.as_deref()
}

fn status(row: &UpsertRow) -> Option<&'static str> {
    row.status.map(super::ProductStatus::as_str)
}

/// What tells a variant from its siblings: its option values.
fn title(row: &UpsertRow) -> String {
    let values: Vec<&str> = row.options.iter().flatten().map(|(_, value)| value.as_str()).collect();
    values.join(" / ")
}

fn option_values(row: &UpsertRow) -> Value {
    row.options.iter().flatten().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
}
