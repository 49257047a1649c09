use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;
use waybill_schema::catalogue::listing;

use super::{
    dto::{AdminProductDto, CreateProduct, UpdateProduct},
    write,
};
use crate::{
    app::Tag,
    auth::{Allowed, CatalogueWrite},
    catalogue::ProductDto,
    error::{ApiError, ApiResult},
    http::{Body, Created, IfMatch, NoContent, Page, PageRequest, Tagged},
    state::AppState,
};

/// `/v1/admin/products`.
pub struct AdminProducts;

#[OpenApi(prefix_path = "/v1/admin/products", tag = "Tag::AdminCatalogue")]
impl AdminProducts {
    /// All products
    ///
    /// The newest first, whatever their status.
    #[oai(path = "/", method = "get", operation_id = "adminListProducts")]
    async fn list(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// 1 to 100, 20 by default.
        limit: Query<Option<i64>>,
        /// Only of this status.
        status: Query<Option<String>>,
    ) -> ApiResult<Json<Page<AdminProductDto>>> {
        let status = match status.0.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => {
                Some(text.parse().map_err(|e: waybill_schema::domain::text_enum::UnknownText| {
                    ApiError::field("status", "invalid", e.to_string())
                })?)
            }
            None => None,
        };
        let page = PageRequest::<Uuid>::parse(cursor.0.as_deref(), limit.0)?;
        let mut conn = state.conn().await?;
        let rows = listing::all(&mut conn, status, page.after, page.fetch()).await?;
        Ok(Json(page.page(rows, |row| row.id, |row| AdminProductDto::new(row, state.currency))))
    }

    /// Make a product
    ///
    /// With its variants. Nobody sees a `draft`.
    #[oai(path = "/", method = "post", operation_id = "createProduct")]
    async fn create(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        body: Body<CreateProduct>,
    ) -> ApiResult<Created<ProductDto>> {
        let body = write::create(&state, body.0).await?;
        Ok(Created { location: format!("/v1/admin/products/{}", body.id), body })
    }

    /// One product
    ///
    /// With variants that are not on sale. The `ETag` is that of the product with its variants, whatever their stock.
    #[oai(path = "/:id", method = "get", operation_id = "adminGetProduct")]
    async fn get(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Tagged<ProductDto>> {
        let mut conn = state.conn().await?;
        let body = write::reply(&state, &mut conn, id.0).await?;
        Ok(Tagged { version: body.version, body })
    }

    /// Change a product
    ///
    /// With `If-Match` only what you have read is changed, and not what somebody else has made of it meanwhile.
    #[oai(path = "/:id", method = "patch", operation_id = "updateProduct")]
    async fn update(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// The product's `ETag` as you have read it, or `*`: 412 if somebody has changed the product or one of its variants since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
        body: Body<UpdateProduct>,
    ) -> ApiResult<Tagged<ProductDto>> {
        let body = write::update(&state, id.0, &if_match, body.0).await?;
        Ok(Tagged { version: body.version, body })
    }

    /// Delete a product
    ///
    /// Refused (409) while any of its variants is on hand or promised to an order. Orders keep their lines.
    #[oai(path = "/:id", method = "delete", operation_id = "deleteProduct")]
    async fn delete(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// The product's `ETag` as you have read it, or `*`: 412 if somebody has changed the product or one of its variants since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
    ) -> ApiResult<NoContent> {
        write::delete(&state, id.0, &if_match).await?;
        Ok(NoContent)
    }
}
