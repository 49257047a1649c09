//! Search: which changes reach the index, and the engines that keep it.

mod engine;
mod pipeline;
mod refresh;
mod reindex;
#[cfg(test)]
mod scope_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use engine::{IndexEngine, PostgresEngine};
pub use pipeline::Indexing;
use waybill_jobs::{JobContext, Registry, kinds::ReindexProducts};
use waybill_platform::config::SearchEngine;

use crate::Services;

/// The engine that the configuration names.
pub fn engine(services: &Services) -> Arc<dyn IndexEngine> {
    match services.config.search.engine {
        SearchEngine::Postgres => Arc::new(PostgresEngine::new(services.pool.clone())),
    }
}

/// Adds the handlers of this folder.
#[must_use]
pub fn register(registry: Registry, services: &Services) -> Registry {
    let engine = engine(services);
    registry.job(move |job: ReindexProducts, cx: JobContext| {
        let engine = Arc::clone(&engine);
        async move { reindex::run(engine.as_ref(), job.category_id, &cx).await }
    })
}
