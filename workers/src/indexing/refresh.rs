//! Products as they are now, to the search engine.

use std::collections::HashSet;

use uuid::Uuid;
use waybill_jobs::Failure;
use waybill_schema::{
    Pool,
    search::index::{self, Over},
};

use super::engine::IndexEngine;

/// Brings the engine up to date with some products: writes those that there are, removes the others.
pub(super) async fn refresh(
    engine: &dyn IndexEngine,
    pool: &Pool,
    wanted: Vec<Uuid>,
    over: Over,
) -> Result<(), Failure> {
    // The connection is given back before the engine is called, which may be far away.
    let documents = index::documents(&mut *pool.get().await?, &wanted).await?;
    let found: HashSet<Uuid> = documents.iter().map(|document| document.product_id).collect();
    let gone: Vec<Uuid> = wanted.into_iter().filter(|id| !found.contains(id)).collect();
    engine.upsert(&documents, over).await?;
    if !gone.is_empty() {
        engine.delete(&gone).await?;
    }
    metrics::counter!("waybill_products_indexed_total", "engine" => engine.name())
        .increment(found.len() as u64);
    Ok(())
}
