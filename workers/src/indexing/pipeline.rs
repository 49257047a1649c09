//! Pipeline `indexing`: products that changed, or sold out, or came back, to the search engine.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use uuid::Uuid;
use waybill_jobs::{EventEnvelope, Pipeline, PipelineError, events::INDEXING};
use waybill_schema::{Conn, Pool, search::index::Over};

use super::{engine::IndexEngine, refresh::refresh};

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
        refresh(self.engine.as_ref(), pool, wanted, Over::Older).await?;
        Ok(())
    }

    async fn apply(&self, _batch: &[EventEnvelope], _conn: &mut Conn) -> Result<(), PipelineError> {
        Ok(())
    }
}
