//! Pipeline `indexing`: products that changed, or sold out, or came back, to the search engine.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use uuid::Uuid;
use waybill_jobs::{EventEnvelope, Pipeline, PipelineError, events::INDEXING};
use waybill_schema::{Conn, Pool, search::index};

use super::engine::IndexEngine;

/// Brings the engine up to date with the products of a batch: however many events a product has in it, its newest
/// state is read once. The engine refuses older states, so batches may overtake each other and be repeated.
pub struct Indexing {
    engine: Arc<dyn IndexEngine>,
}

impl Indexing {
    /// A pipeline into `engine`.
    pub fn new(engine: Arc<dyn IndexEngine>) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Pipeline for Indexing {
    fn name(&self) -> &'static str {
        INDEXING.name
    }

    fn topics(&self) -> &'static [&'static str] {
        INDEXING.topics
    }

    fn max_batch(&self) -> usize {
        500
    }

    async fn prepare(&self, batch: &[EventEnvelope], pool: &Pool) -> Result<(), PipelineError> {
        // All three are events of a product.
        let wanted: Vec<Uuid> =
            batch.iter().map(|event| event.aggregate_id).collect::<BTreeSet<_>>().into_iter().collect();
        let documents = {
            let mut conn = pool.get().await?;
            index::documents(&mut conn, &wanted).await?
        };
        let found: BTreeSet<Uuid> = documents.iter().map(|document| document.product_id).collect();
        let gone: Vec<Uuid> = wanted.into_iter().filter(|id| !found.contains(id)).collect();
        self.engine.upsert(&documents).await?;
        if !gone.is_empty() {
            self.engine.delete(&gone).await?;
        }
        metrics::counter!("waybill_products_indexed_total", "engine" => self.engine.name())
            .increment(found.len() as u64);
        Ok(())
    }

    async fn apply(&self, _batch: &[EventEnvelope], _conn: &mut Conn) -> Result<(), PipelineError> {
        Ok(())
    }
}
