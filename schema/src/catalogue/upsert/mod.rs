//! Products and variants from a file: created or brought up to date by SKU, many at a time, touching only what differs.

mod categories;
pub mod group;
mod resolve;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use diesel::QueryResult;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{ProductStatus, products};
use crate::{Conn, Sku, UnitPrice, imports::run::RowOutcome};

pub use super::products::Touched;

/// A variant and its product as a file tells them. `None` is for a column that the file does not have: what is known
/// stays. An inner `None` is for a cell that is blank: what is known is cleared.
#[derive(Debug, Clone, PartialEq)]
pub struct UpsertRow {
    /// The variant.
    pub sku: Sku,
    /// Slug of the product; without one a new SKU gets a product of its own.
    pub product: Option<String>,
    /// Product's name. Of several rows of a product the last one counts for everything that is the product's.
    pub name: String,
    /// Price of one.
    pub price: UnitPrice,
    /// Price before a reduction, in the same currency.
    pub compare_at_price: Option<Option<Decimal>>,
    /// Description; empty clears.
    pub description: Option<String>,
    /// Brand.
    pub brand: Option<Option<String>>,
    /// Status; `active` for a new product.
    pub status: Option<ProductStatus>,
    /// Weight in grams.
    pub weight_grams: Option<Option<i32>>,
    /// Paths of category names from the root; those that do not exist are made.
    pub categories: Option<Vec<Vec<String>>>,
    /// Option values in the order of the file's columns.
    pub options: Option<Vec<(String, String)>>,
}

/// What rows came to.
#[derive(Debug, Default)]
pub struct UpsertReport {
    /// One per row, in their order.
    pub outcomes: Vec<RowOutcome>,
    /// Products that differ from before; each needs an event.
    pub touched: Vec<Touched>,
}

/// Where a row goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub product_id: Uuid,
    pub slug: String,
    pub new_product: bool,
    pub new_variant: bool,
}

/// Writes rows in their order, in the transaction open on `conn`.
///
/// Others may do so at the same time. Where both make the same product or variant, the second waits for the first and is
/// refused by a unique key then; it rolls back, and finds what the first made when it is tried again.
pub async fn apply(conn: &mut Conn, rows: &[&UpsertRow]) -> QueryResult<UpsertReport> {
    let mut outcomes = Vec::with_capacity(rows.len());
    let mut touched = BTreeMap::new();
    let mut rest = rows;
    while !rest.is_empty() {
        // A statement writes a row of the database once: a SKU that comes again waits for the next round.
        let mut seen = HashSet::new();
        let repeat = rest.iter().position(|row| !seen.insert(row.sku.as_str()));
        let (round, later) = rest.split_at(repeat.unwrap_or(rest.len()));
        let report = apply_distinct(conn, round).await?;
        outcomes.extend(report.outcomes);
        touched.extend(report.touched.into_iter().map(|touched| (touched.product_id, touched)));
        rest = later;
    }
    Ok(UpsertReport { outcomes, touched: touched.into_values().collect() })
}

async fn apply_distinct(conn: &mut Conn, rows: &[&UpsertRow]) -> QueryResult<UpsertReport> {
    let targets = resolve::targets(conn, rows).await?;
    let placed: Vec<(&UpsertRow, &Target)> = rows
        .iter()
        .zip(&targets)
        .filter_map(|(row, target)| target.as_ref().ok().map(|target| (*row, target)))
        .collect();
    // What belongs to a product is told by its last row.
    let by_product: BTreeMap<Uuid, (&UpsertRow, &Target)> =
        placed.iter().map(|(row, target)| (target.product_id, (*row, *target))).collect();
    let telling: Vec<(&UpsertRow, &Target)> = by_product.values().copied().collect();

    write::insert_products(conn, &telling).await?;
    let mut products = write::update_products(conn, &telling).await?;
    products.extend(categories::assign(conn, &telling).await?);
    write::insert_variants(conn, &placed).await?;
    let variants = write::update_variants(conn, &placed).await?;
    write::insert_options(conn, &placed).await?;

    let differs = |row: &UpsertRow, target: &Target| {
        let tells = by_product.get(&target.product_id).is_some_and(|(teller, _)| teller.sku == row.sku);
        variants.contains(row.sku.as_str()) || (tells && products.contains(&target.product_id))
    };
    let outcomes = rows
        .iter()
        .zip(&targets)
        .map(|(row, target)| match target {
            Err(refused) => refused.clone(),
            Ok(target) if target.new_variant => RowOutcome::Created,
            Ok(target) if differs(row, target) => RowOutcome::Updated,
            Ok(_) => RowOutcome::Unchanged,
        })
        .collect();
    let touched: BTreeSet<Uuid> = placed
        .iter()
        .filter(|(row, target)| target.new_variant || variants.contains(row.sku.as_str()))
        .map(|(_, target)| target.product_id)
        .chain(products.iter().copied())
        .collect();
    let touched = if touched.is_empty() {
        Vec::new()
    } else {
        products::touch(conn, &touched.into_iter().collect::<Vec<_>>()).await?
    };
    Ok(UpsertReport { outcomes, touched })
}
