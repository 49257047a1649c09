//! Search engines, as the indexing pipeline sees them.

use async_trait::async_trait;
use uuid::Uuid;
use waybill_jobs::Failure;
use waybill_schema::{
    Pool,
    search::index::{self, Document, Over},
};

/// Keeps documents for searching. Both calls may be repeated, and documents may come late: a document never replaces one
/// with a higher (version, stock version), and one with the same only where the caller says so.
#[async_trait]
pub trait IndexEngine: Send + Sync + 'static {
    /// As in the setting `search.engine`.
    fn name(&self) -> &'static str;

    /// Adds or replaces documents. They are searchable once this returns, or soon after if the engine says so.
    async fn upsert(&self, documents: &[Document], over: Over) -> Result<(), Failure>;

    /// Removes products that no longer exist.
    async fn delete(&self, product_ids: &[Uuid]) -> Result<(), Failure>;
}

/// Postgres' full text search and trigrams, in the table `product_search`.
pub struct PostgresEngine {
    pool: Pool,
}

impl PostgresEngine {
    /// An engine over the system's own database.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl IndexEngine for PostgresEngine {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn upsert(&self, documents: &[Document], over: Over) -> Result<(), Failure> {
        let mut conn = self.pool.get().await?;
        index::upsert(&mut conn, documents, over).await?;
        Ok(())
    }

    async fn delete(&self, product_ids: &[Uuid]) -> Result<(), Failure> {
        let mut conn = self.pool.get().await?;
        index::delete(&mut conn, product_ids).await?;
        Ok(())
    }
}
