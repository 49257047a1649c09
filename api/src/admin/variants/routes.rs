use poem::web::Data;
use poem_openapi::{OpenApi, param::Path};
use uuid::Uuid;

use super::{dto::UpdateVariant, write};
use crate::{
    admin::products::CreateVariant,
    app::Tag,
    auth::{Allowed, CatalogueWrite},
    catalogue::VariantDto,
    error::ApiResult,
    http::{Body, Created, IfMatch, NoContent, Tagged},
    state::AppState,
};

/// `/v1/admin/products/{id}/variants` and `/v1/admin/variants`.
pub struct AdminVariants;

#[OpenApi(prefix_path = "/v1/admin", tag = "Tag::AdminCatalogue")]
impl AdminVariants {
    /// Add a variant
    #[oai(path = "/products/:id/variants", method = "post", operation_id = "createVariant")]
    async fn create(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// The product's `ETag` as you have read it, or `*`: 412 if somebody has changed the product or one of its variants since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
        body: Body<CreateVariant>,
    ) -> ApiResult<Created<VariantDto>> {
        let body = write::create(&state, id.0, &if_match, body.0).await?;
        Ok(Created { location: format!("/v1/admin/variants/{}", body.id), body })
    }

    /// One variant
    ///
    /// Whether it is on sale or not. The `ETag` is that of its product.
    #[oai(path = "/variants/:id", method = "get", operation_id = "adminGetVariant")]
    async fn get(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Tagged<VariantDto>> {
        write::get(&state, id.0).await
    }

    /// Change a variant
    #[oai(path = "/variants/:id", method = "patch", operation_id = "updateVariant")]
    async fn update(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// The product's `ETag` as you have read it, or `*`: 412 if somebody has changed the product or one of its variants since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
        body: Body<UpdateVariant>,
    ) -> ApiResult<Tagged<VariantDto>> {
        write::update(&state, id.0, &if_match, body.0).await
    }

    /// Delete a variant
    ///
    /// Refused (409) while it is on hand or promised to an order. Orders keep their lines.
    #[oai(path = "/variants/:id", method = "delete", operation_id = "deleteVariant")]
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
