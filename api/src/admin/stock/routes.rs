use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;
use waybill_schema::inventory::levels;

use super::{
    adjust,
    dto::{AdjustStock, AdjustedDto, LedgerDto, StockDto},
};
use crate::{
    app::Tag,
    auth::{Allowed, StockWrite},
    error::{ApiError, ApiResult},
    http::{Body, Created, Page, PageRequest},
    state::AppState,
};

/// `/v1/admin/stock`.
pub struct AdminStock;

#[OpenApi(prefix_path = "/v1/admin/stock", tag = "Tag::AdminStock")]
impl AdminStock {
    /// Stock levels
    ///
    /// By SKU and location.
    #[oai(path = "/", method = "get", operation_id = "listStock")]
    async fn list(
        &self,
        _caller: Allowed<StockWrite>,
        state: Data<&AppState>,
        /// Only of this SKU.
        sku: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// 1 to 100, 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<StockDto>>> {
        let page = PageRequest::<(String, String)>::parse(cursor.0.as_deref(), limit.0)?;
        let sku = sku.0.filter(|sku| !sku.is_empty());
        let mut conn = state.conn().await?;
        let rows = levels::list(&mut conn, sku.as_deref(), page.after.as_ref(), page.fetch()).await?;
        Ok(Json(page.page(rows, |row| (row.sku.clone(), row.location.clone()), StockDto::from)))
    }

    /// The moves of a variant's stock
    ///
    /// The newest first.
    #[oai(path = "/:sku/ledger", method = "get", operation_id = "getStockLedger")]
    async fn ledger(
        &self,
        _caller: Allowed<StockWrite>,
        state: Data<&AppState>,
        sku: Path<String>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// 1 to 100, 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<LedgerDto>>> {
        let page = PageRequest::<Uuid>::parse(cursor.0.as_deref(), limit.0)?;
        let mut conn = state.conn().await?;
        let variant = levels::variant(&mut conn, &sku).await?;
        let variant = variant.ok_or_else(|| ApiError::not_found("SKU"))?;
        let rows = levels::ledger(&mut conn, variant.id, page.after, page.fetch()).await?;
        Ok(Json(page.page(rows, |row| row.id, LedgerDto::from)))
    }

    /// Correct a level
    ///
    /// By `delta` or to `on_hand`. Refused (409) where less would be left than orders were promised.
    #[oai(path = "/adjustments", method = "post", operation_id = "adjustStock")]
    async fn adjust(
        &self,
        _caller: Allowed<StockWrite>,
        state: Data<&AppState>,
        body: Body<AdjustStock>,
    ) -> ApiResult<Created<AdjustedDto>> {
        let body = adjust::adjust(&state, &body.0).await?;
        let sku: String = url::form_urlencoded::byte_serialize(body.level.sku.as_bytes()).collect();
        Ok(Created { location: format!("/v1/admin/stock/{}/ledger", sku.replace('+', "%20")), body })
    }
}
