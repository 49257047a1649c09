use std::collections::HashMap;

use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};
use uuid::Uuid;
use waybill_schema::catalogue::listing::{self, ListedProduct};

use super::SearchQuery;
use crate::{
    app::Tag,
    catalogue::{Parameters, ProductSummaryDto},
    error::{ApiResult, FieldErrors},
    http::PageRequest,
    state::AppState,
};

/// A page of what was found, best first.
#[derive(Debug, Object)]
#[oai(rename = "SearchResults")]
pub struct SearchResultsDto {
    /// The products.
    pub data: Vec<ProductSummaryDto>,
    /// `cursor` of the next page; null on the last.
    pub next_cursor: Option<String>,
    /// The engine that answered.
    pub engine: String,
}

/// `/v1/search`.
pub struct Search;

#[OpenApi(prefix_path = "/v1", tag = "Tag::Search")]
impl Search {
    /// Find products
    ///
    /// Every word counts; `"several words"` in that order, `-word` without it, `or` between alternatives. Where nothing
    /// has the words, what is spelt alike is found.
    #[allow(clippy::too_many_arguments, reason = "one per query parameter")]
    #[oai(path = "/search", method = "get", operation_id = "searchProducts")]
    async fn search(
        &self,
        state: Data<&AppState>,
        /// What to look for.
        q: Query<String>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// 1 to 100, 20 by default.
        limit: Query<Option<i64>>,
        /// Slug of a category; what is below it counts.
        category: Query<Option<String>>,
        /// Brand, whatever its case.
        brand: Query<Option<String>>,
        /// Some variant costs at least this.
        price_min: Query<Option<String>>,
        /// Some variant costs at most this.
        price_max: Query<Option<String>>,
        /// Only what can be bought now.
        in_stock: Query<Option<bool>>,
    ) -> ApiResult<Json<SearchResultsDto>> {
        let mut errors = FieldErrors::new();
        let text = errors.text("q", &q, 1, 200);
        errors.check()?;
        // The engine reads its own cursor; only the limit is ours.
        let page = PageRequest::<String>::parse(None, limit.0)?;
        let mut conn = state.conn().await?;
        let parameters = Parameters {
            category: category.0,
            brand: brand.0,
            price_min: price_min.0,
            price_max: price_max.0,
            in_stock: in_stock.0,
        };
        let filter = parameters.resolve(&mut conn).await?;
        // The engine takes a connection of its own; holding two could starve the pool.
        drop(conn);
        let cursor = cursor.0.filter(|text| !text.is_empty());
        let query = SearchQuery { text, filter, cursor, limit: page.limit };
        let found = state.search.search(&query).await?;

        let mut conn = state.conn().await?;
        let rows = listing::on_sale_by_ids(&mut conn, &found.ids).await?;
        drop(conn);
        let mut rows: HashMap<Uuid, ListedProduct> = rows.into_iter().map(|row| (row.id, row)).collect();
        let in_order = found.ids.iter().filter_map(|id| rows.remove(id));
        Ok(Json(SearchResultsDto {
            data: in_order.map(|row| ProductSummaryDto::new(row, state.currency)).collect(),
            next_cursor: found.next_cursor,
            engine: state.search.name().to_owned(),
        }))
    }
}
