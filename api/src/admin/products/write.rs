//! The transactions behind the routes.

use diesel::result::Error as DbError;
use diesel_async::AsyncConnection;
use uuid::Uuid;
use waybill_jobs::{emit, events::ProductUpdated};
use waybill_schema::{
    Conn,
    catalogue::{categories, detail, products, variants},
};

use super::dto::{CreateProduct, UpdateProduct};
use crate::{
    admin::changed,
    catalogue::ProductDto,
    error::{ApiError, ApiResult, FieldErrors, codes, constraint},
    http::{ETag, IfMatch},
    state::AppState,
};

fn slug_taken() -> ApiError {
    ApiError::conflict(codes::CONFLICT, "another product has this slug")
}

/// What the database refuses, in words; what it refuses was checked before, so somebody else was faster.
pub fn refused(error: DbError) -> ApiError {
    match constraint(&error) {
        Some("products_slug_key") => slug_taken(),
        Some("variants_sku_key") => ApiError::conflict(codes::CONFLICT, "another variant has this SKU"),
        _ => error.into(),
    }
}

/// Adds an error for each SKU that another variant has. `at(i)` is the path of the `i`th.
pub async fn check_skus(
    conn: &mut Conn,
    skus: &[&str],
    except: Option<Uuid>,
    at: impl Fn(usize) -> String,
) -> ApiResult<()> {
    let taken = variants::taken_skus(conn, skus, except).await?;
    let mut errors = FieldErrors::new();
    for (i, _) in skus.iter().enumerate().filter(|(_, sku)| taken.iter().any(|taken| taken == *sku)) {
        errors.add(at(i), "taken", "another variant has this SKU");
    }
    errors.check()
}

async fn check_categories(conn: &mut Conn, ids: &[Uuid]) -> ApiResult<()> {
    let missing = categories::missing(conn, ids).await?;
    let mut errors = FieldErrors::new();
    for (i, _) in ids.iter().enumerate().filter(|(_, id)| missing.contains(id)) {
        errors.add(format!("category_ids[{i}]"), "not_found", "there is no such category");
    }
    errors.check()
}

/// The product as it is now.
pub async fn reply(state: &AppState, conn: &mut Conn, id: Uuid) -> ApiResult<ProductDto> {
    let product = detail::by_id(conn, id).await?.ok_or_else(|| ApiError::not_found("product"))?;
    Ok(ProductDto::new(product, state.currency))
}

/// Locks a product against other writers; its version, if it is one that the client may change.
pub async fn lock(conn: &mut Conn, id: Uuid, if_match: &IfMatch) -> ApiResult<i64> {
    let version = products::lock(conn, id).await?.ok_or_else(|| ApiError::not_found("product"))?;
    if_match.check(&ETag::version(version))?;
    Ok(version)
}

/// Makes a product with everything.
pub async fn create(state: &AppState, mut request: CreateProduct) -> ApiResult<ProductDto> {
    let category_ids = request.category_ids.clone().unwrap_or_default();
    request.variants.truncate(1_000);
    let parsed = request.parse()?;
    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let skus: Vec<&str> = parsed.variants.iter().map(|variant| variant.sku.as_str()).collect();
            check_skus(conn, &skus, None, |i| format!("variants[{i}].sku")).await?;
            check_categories(conn, &category_ids).await?;
            let id = products::insert(conn, &parsed.product).await?.ok_or_else(slug_taken)?;
            products::set_categories(conn, id, &category_ids).await?;
            products::set_options(conn, id, &parsed.options).await?;
            variants::insert(conn, id, &parsed.variants).await.map_err(refused)?;
            changed(conn, &[id]).await?;
            reply(state, conn, id).await
        })
        .await
}

/// Changes a product.
pub async fn update(
    state: &AppState,
    id: Uuid,
    if_match: &IfMatch,
    request: UpdateProduct,
) -> ApiResult<ProductDto> {
    let category_ids = request.category_ids.clone();
    let (change, options) = request.parse()?;
    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            lock(conn, id, if_match).await?;
            products::update(conn, id, &change).await.map_err(refused)?;
            if let Some(ids) = &category_ids {
                check_categories(conn, ids).await?;
                products::set_categories(conn, id, ids).await?;
            }
            if let Some(names) = &options {
                products::set_options(conn, id, names).await?;
            }
            changed(conn, &[id]).await?;
            reply(state, conn, id).await
        })
        .await
}

/// Deletes a product that has nothing on hand and nothing promised.
pub async fn delete(state: &AppState, id: Uuid, if_match: &IfMatch) -> ApiResult<()> {
    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let version = lock(conn, id, if_match).await?;
            if variants::has_stock(conn, id, None).await? {
                return Err(ApiError::conflict(
                    codes::CONFLICT,
                    "the product has stock on hand or promised to orders; set it to discontinued instead",
                ));
            }
            products::delete(conn, id).await?;
            emit(conn, &ProductUpdated { product_id: id, version: version + 1 }, None).await?;
            Ok(())
        })
        .await
}
