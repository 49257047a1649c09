//! Which product each row belongs to, existing or new.

use std::collections::{HashMap, HashSet};

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Target, UpsertRow};
use crate::{Conn, catalogue::slugify, imports::run::RowOutcome, new_id, sql};

/// What a product without a name that makes a slug is called in URLs.
pub(super) const FALLBACK: &str = "item";

#[derive(QueryableByName)]
struct Variant {
    #[diesel(sql_type = Text)]
    sku: String,
    #[diesel(sql_type = SqlUuid)]
    product_id: Uuid,
    #[diesel(sql_type = Text)]
    slug: String,
}

#[derive(QueryableByName)]
struct Product {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    slug: String,
}

/// A target per row, in their order; a row whose SKU belongs to another product than it says is refused.
pub(super) async fn targets(
    conn: &mut Conn,
    rows: &[&UpsertRow],
) -> QueryResult<Vec<Result<Target, RowOutcome>>> {
    // Locked, so that what is compared below is what is changed.
    let variants: Vec<Variant> =
        sql("select v.sku, v.product_id, p.slug from variants v join products p on p.id = v.product_id
         where v.sku = any($1) order by p.id, v.id for update")
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.sku.as_str()).collect::<Vec<_>>())
        .load(conn)
        .await?;
    let variants: HashMap<String, Variant> =
        variants.into_iter().map(|variant| (variant.sku.clone(), variant)).collect();
    let slugs: Vec<String> = rows
        .iter()
        .filter(|row| !variants.contains_key(row.sku.as_str()))
        .flat_map(|row| match &row.product {
            Some(slug) => vec![slug.clone()],
            None => candidates(row).to_vec(),
        })
        .collect();
    let products: Vec<Product> =
        sql("select id, slug from products where slug = any($1) order by id for update")
            .bind::<Array<Text>, _>(&slugs)
            .load(conn)
            .await?;
    let mut known: HashMap<String, (Uuid, bool)> =
        products.into_iter().map(|product| (product.slug, (product.id, false))).collect();
    let mut taken: HashSet<String> = known.keys().cloned().collect();
    // A slug that a row asks for is not given to a product that only needs some slug.
    taken.extend(rows.iter().filter_map(|row| row.product.clone()));

    Ok(rows
        .iter()
        .map(|row| match (variants.get(row.sku.as_str()), &row.product) {
            (Some(variant), Some(slug)) if variant.slug != *slug => Err(RowOutcome::Refused {
                field: "product",
                value: slug.clone(),
                reason: format!("this SKU belongs to product {}", variant.slug),
            }),
            (Some(variant), _) => Ok(Target {
                product_id: variant.product_id,
                slug: variant.slug.clone(),
                new_product: false,
                new_variant: false,
            }),
            (None, Some(slug)) => {
                let (product_id, new_product) =
                    *known.entry(slug.clone()).or_insert_with(|| (new_id(), true));
                Ok(Target { product_id, slug: slug.clone(), new_product, new_variant: true })
            }
            (None, None) => {
                let product_id = new_id();
                let slug = free(row, product_id, &mut taken);
                Ok(Target { product_id, slug, new_product: true, new_variant: true })
            }
        })
        .collect())
}

/// The slugs that a new product would like.
fn candidates(row: &UpsertRow) -> [String; 2] {
    let name = slugify(&row.name, FALLBACK);
    let with_sku = slugify(&format!("{name} {}", row.sku), FALLBACK);
    [name, with_sku]
}

fn free(row: &UpsertRow, product_id: Uuid, taken: &mut HashSet<String>) -> String {
    let [name, with_sku] = candidates(row);
    // The last digits of a UUIDv7 are random.
    let random = format!("{name}-{}", &product_id.simple().to_string()[20..]);
    let slug = [name, with_sku].into_iter().find(|slug| !taken.contains(slug)).unwrap_or(random);
    taken.insert(slug.clone());
    slug
}
