use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};
use uuid::Uuid;

use super::{dto::UpdateVariant, write};
use crate::{
    admin::products::CreateVariant,
    app::Tag,
    auth::{Allowed, CatalogueWrite},
    catalogue::VariantDto,
    error::ApiResult,
    http::{Body, Created, NoContent},
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
        body: Body<CreateVariant>,
    ) -> ApiResult<Created<VariantDto>> {
        let body = write::create(&state, id.0, body.0).await?;
        Ok(Created { location: format!("/v1/admin/products/{}", id.0), body })
    }

    /// Change a variant
    #[oai(path = "/variants/:id", method = "patch", operation_id = "updateVariant")]
    async fn update(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        body: Body<UpdateVariant>,
    ) -> ApiResult<Json<VariantDto>> {
        Ok(Json(write::update(&state, id.0, body.0).await?))
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
    ) -> ApiResult<NoContent> {
        write::delete(&state, id.0).await?;
        Ok(NoContent)
    }
}
