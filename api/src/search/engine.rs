//! What a search engine is asked, and what it answers: ids in order. Names, prices and stock of what was found come from
//! the database, so that no engine's lag shows a price that no longer holds.

use async_trait::async_trait;
use uuid::Uuid;
use waybill_schema::catalogue::listing::Filter;

use crate::error::ApiResult;

/// A question.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// What somebody typed, trimmed, not empty.
    pub text: String,
    /// Only among these.
    pub filter: Filter,
    /// The engine's own cursor from the page before.
    pub cursor: Option<String>,
    /// Ids wanted, 1 to 100.
    pub limit: i64,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct SearchResult {
    /// Products, best first.
    pub ids: Vec<Uuid>,
    /// The engine's cursor of the next page; none on the last.
    pub next_cursor: Option<String>,
}

/// Finds products.
#[async_trait]
pub trait SearchEngine: Send + Sync {
    /// The engine's name, as answers say it.
    fn name(&self) -> &'static str;

    /// Finds a page of products.
    async fn search(&self, query: &SearchQuery) -> ApiResult<SearchResult>;
}
