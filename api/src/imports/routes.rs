use poem::{Request, web::Data};
use poem_openapi::{
    OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use uuid::Uuid;
use waybill_schema::imports;

use super::{create::create, dto::ImportDto, errors::ErrorFile, upload::Upload};
use crate::{
    app::Tag,
    auth::{Allowed, ImportsWrite},
    error::{ApiError, ApiResult},
    http::{Accepted, Page, PageRequest},
    state::AppState,
};

/// `/v1/admin/imports`.
pub struct Imports;

#[OpenApi(prefix_path = "/v1/admin/imports", tag = "Tag::AdminImports")]
impl Imports {
    /// Upload a file
    ///
    /// A CSV file of products or of stock levels; its rows go in as a job, a bad one is reported and the others go in.
    /// Follow it at `Location`, or its job at `/v1/jobs/{job_id}`.
    ///
    /// Products: columns `sku,name,price`, optionally `currency`, `description`, `brand`, `category`, `status`,
    /// `compare_at_price`, `weight_grams`, `product` (the slug that variants share) and `option_...`; a row is a variant, and
    /// a known SKU is updated. Stock: columns `sku,on_hand`, optionally `location`, `reorder_level`, `sequence` (an older one
    /// never overwrites a newer one); levels are absolute.
    ///
    /// 413 for a file beyond the limit, 415 for what is not CSV, 422 for missing, unknown or empty parts: nothing is kept
    /// then. An `Idempotency-Key` makes it safe to send a file again.
    #[oai(path = "/", method = "post", operation_id = "createImport")]
    async fn create(
        &self,
        caller: Allowed<ImportsWrite>,
        state: Data<&AppState>,
        request: &Request,
        /// Your own name for this request, 1 to 255 printable ASCII characters; a UUID serves well.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        upload: Upload,
    ) -> ApiResult<Accepted<ImportDto>> {
        let import = create(&state, &caller.0, request, idempotency_key.0.as_deref(), upload).await?;
        Ok(Accepted { location: import.location(), body: import })
    }

    /// Imports
    ///
    /// Newest first.
    #[oai(path = "/", method = "get", operation_id = "listImports")]
    async fn list(
        &self,
        _caller: Allowed<ImportsWrite>,
        state: Data<&AppState>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of a page, 1 to 100; 20 by default.
        limit: Query<Option<i64>>,
    ) -> ApiResult<Json<Page<ImportDto>>> {
        let page = PageRequest::<Uuid>::parse(cursor.0.as_deref(), limit.0)?;
        let mut conn = state.conn().await?;
        let rows = imports::list(&mut conn, page.after, page.fetch()).await?;
        Ok(Json(page.page(rows, |row| row.id, ImportDto::from)))
    }

    /// How far an import is
    #[oai(path = "/:id", method = "get", operation_id = "getImport")]
    async fn get(
        &self,
        _caller: Allowed<ImportsWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<Json<ImportDto>> {
        let mut conn = state.conn().await?;
        let row = imports::find(&mut conn, id.0).await?;
        row.map(|row| Json(row.into())).ok_or_else(|| ApiError::not_found("import"))
    }

    /// The rows that could not be used
    ///
    /// As a CSV file, safe to open in a spreadsheet. While the import runs it holds what was found so far.
    #[oai(path = "/:id/errors", method = "get", operation_id = "getImportErrors")]
    async fn errors(
        &self,
        _caller: Allowed<ImportsWrite>,
        state: Data<&AppState>,
        id: Path<Uuid>,
    ) -> ApiResult<ErrorFile> {
        let mut conn = state.conn().await?;
        let row = imports::find(&mut conn, id.0).await?.ok_or_else(|| ApiError::not_found("import"))?;
        Ok(ErrorFile::new(state.0.clone(), row.id))
    }
}
