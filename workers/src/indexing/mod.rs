//! Search: which changes reach the index, and the engines that keep it.

mod engine;
mod pipeline;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use engine::{IndexEngine, PostgresEngine};
pub use pipeline::Indexing;
use waybill_platform::config::SearchEngine;

use crate::Services;

/// The engine that the configuration names.
pub fn engine(services: &Services) -> Arc<dyn IndexEngine> {
    match services.config.search.engine {
        SearchEngine::Postgres => Arc::new(PostgresEngine::new(services.pool.clone())),
    }
}
