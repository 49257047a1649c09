//! Full text and trigrams in Postgres.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_schema::{
    Pool,
    search::query::{self, Hit, Method},
};

use super::engine::{SearchEngine, SearchQuery, SearchResult};
use crate::{error::ApiResult, http::Cursor};

/// See the module.
pub struct PostgresSearch {
    pool: Pool,
}

/// The last hit of a page, and which method found it: a later page must go on with the same.
#[derive(Debug, Serialize, Deserialize)]
struct After {
    m: Method,
    /// Bits of the score: as a decimal number it could come back a little smaller or larger, and a row twice or never.
    s: u64,
    i: Uuid,
}

impl PostgresSearch {
    /// On this pool.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl SearchEngine for PostgresSearch {
    fn name(&self) -> &'static str {
        "postgres"
    }

    /// Words first; where no product has them all, what is spelt alike.
    async fn search(&self, query: &SearchQuery) -> ApiResult<SearchResult> {
        let after: Option<After> = query.cursor.as_deref().map(Cursor::decode).transpose()?;
        let mut conn = self.pool.get().await?;
        let methods = match &after {
            Some(after) => vec![after.m],
            None => vec![Method::Words, Method::Likeness],
        };
        let position = after.map(|after| (f64::from_bits(after.s), after.i));
        for method in methods {
            let hits =
                query::hits(&mut conn, method, &query.text, &query.filter, position, query.limit + 1).await?;
            if !hits.is_empty() {
                return Ok(page(hits, method, query.limit));
            }
        }
        Ok(SearchResult::default())
    }
}

fn page(mut hits: Vec<Hit>, method: Method, limit: i64) -> SearchResult {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = hits.len() > limit;
    hits.truncate(limit);
    let last = hits.last().filter(|_| more);
    let next_cursor = last.map(|hit| Cursor::encode(&After { m: method, s: hit.score.to_bits(), i: hit.id }));
    SearchResult { ids: hits.into_iter().map(|hit| hit.id).collect(), next_cursor }
}
