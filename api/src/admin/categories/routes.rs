use diesel::result::Error as DbError;
use diesel_async::AsyncConnection;
use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};
use uuid::Uuid;
use waybill_jobs::{Job as _, enqueue, kinds::ReindexProducts};
use waybill_schema::{Conn, catalogue::categories};

use super::dto::{CreateCategory, UpdateCategory};
use crate::{
    app::Tag,
    auth::{Allowed, CatalogueWrite},
    catalogue::{CategoryDto, CategoryTreeDto, tree},
    error::{ApiError, ApiResult, codes, constraint},
    http::{Body, Created, NoContent},
    state::AppState,
};

/// `/v1/admin/categories`.
pub struct AdminCategories;

fn slug_taken() -> ApiError {
    ApiError::conflict(codes::CONFLICT, "another category has this slug")
}

/// What the database refuses, in words.
fn refused(error: DbError) -> ApiError {
    match constraint(&error) {
        Some("categories_no_cycle" | "categories_check") => {
            ApiError::field("parent_id", "cycle", "is the category itself or below it")
        }
        Some("categories_parent_id_fkey") => {
            ApiError::field("parent_id", "not_found", "there is no such category")
        }
        Some("categories_slug_key") => slug_taken(),
        _ => error.into(),
    }
}

#[OpenApi(prefix_path = "/v1/admin/categories", tag = "Tag::AdminCatalogue")]
impl AdminCategories {
    /// The whole tree
    ///
    /// With categories that do not show.
    #[oai(path = "/", method = "get", operation_id = "adminListCategories")]
    async fn list(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
    ) -> ApiResult<Json<CategoryTreeDto>> {
        let mut conn = state.conn().await?;
        let data = tree(categories::all(&mut conn, false).await?);
        Ok(Json(CategoryTreeDto { data }))
    }

    /// Make a category
    #[oai(path = "/", method = "post", operation_id = "createCategory")]
    async fn create(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        body: Body<CreateCategory>,
    ) -> ApiResult<Created<CategoryDto>> {
        let new = body.0.parse()?;
        let mut conn = state.conn().await?;
        let made = categories::insert(&mut conn, &new).await.map_err(refused)?;
        let body = CategoryDto::from(made.ok_or_else(slug_taken)?);
        Ok(Created { location: format!("/v1/categories/{}", body.slug), body })
    }

    /// Change a category
    ///
    /// A category cannot move below itself. After a new name or a new place a job brings the products in it, and below it, to
    /// the search index again.
    #[oai(path = "/:id", method = "patch", operation_id = "updateCategory")]
    async fn update(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
        body: Body<UpdateCategory>,
    ) -> ApiResult<Json<CategoryDto>> {
        let change = body.0.parse()?;
        let mut conn = state.conn().await?;
        let (changed, stale) = (*conn)
            .transaction(async |conn: &mut Conn| {
                let unknown = || ApiError::not_found("category");
                let before = categories::lock(conn, id.0).await?.ok_or_else(unknown)?;
                let now =
                    categories::update(conn, id.0, &change).await.map_err(refused)?.ok_or_else(unknown)?;
                // Documents hold the names of categories, and find their products under everything above them.
                let stale = now.name != before.name || now.parent_id != before.parent_id;
                if stale {
                    enqueue(conn, &ReindexProducts { category_id: Some(id.0) }).await?;
                }
                Ok::<_, ApiError>((now, stale))
            })
            .await?;
        if stale {
            state.notifier.hint(ReindexProducts::QUEUE);
        }
        Ok(Json(changed.into()))
    }

    /// Delete a category
    ///
    /// Refused (409) while it has products or categories below it.
    #[oai(path = "/:id", method = "delete", operation_id = "deleteCategory")]
    async fn delete(
        &self,
        _caller: Allowed<CatalogueWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<NoContent> {
        let mut conn = state.conn().await?;
        (*conn)
            .transaction(async |conn: &mut Conn| {
                let in_use = categories::in_use(conn, id.0).await?;
                if in_use.products > 0 || in_use.children > 0 {
                    let detail = format!(
                        "the category has {} products and {} categories below it; move them first",
                        in_use.products, in_use.children
                    );
                    return Err(ApiError::conflict(codes::CONFLICT, detail)
                        .with("products", in_use.products)
                        .with("children", in_use.children));
                }
                let deleted =
                    categories::delete(conn, id.0).await.map_err(|error| match constraint(&error) {
                        // Somebody put something into it at this moment.
                        Some(_) => ApiError::conflict(codes::CONFLICT, "the category is in use"),
                        None => error.into(),
                    })?;
                if deleted { Ok(NoContent) } else { Err(ApiError::not_found("category")) }
            })
            .await
    }
}
