//! Which rows must stay in order among themselves, because they may be about one product.

use std::collections::HashMap;

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, Text},
};
use diesel_async::RunQueryDsl;

use super::{UpsertRow, resolve::FALLBACK};
use crate::{Conn, catalogue::slugify, sql};

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = Text)]
    sku: String,
    #[diesel(sql_type = Text)]
    slug: String,
}

/// The slug of the product of each SKU that has one by now.
pub async fn known(conn: &mut Conn, rows: &[&UpsertRow]) -> QueryResult<HashMap<String, String>> {
    let known: Vec<Known> = sql(
        "select v.sku, p.slug from variants v join products p on p.id = v.product_id where v.sku = any($1)",
    )
    .bind::<Array<Text>, _>(rows.iter().map(|row| row.sku.as_str()).collect::<Vec<_>>())
    .load(conn)
    .await?;
    Ok(known.into_iter().map(|known| (known.sku, known.slug)).collect())
}

/// The slug that a row with a new SKU asks for: that of the product it names, else that of its name. Rows whose products
/// could want the same slug ask for the same.
pub fn asked_for(row: &UpsertRow) -> String {
    row.product.clone().unwrap_or_else(|| slugify(&row.name, FALLBACK))
}
