//! The transactions behind the routes.

use diesel_async::AsyncConnection;
use poem_openapi::types::MaybeUndefined;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::{
    Conn, Sku, UnitPrice,
    catalogue::{
        detail::{self, ProductDetail},
        variants::{self, VariantChange},
    },
};

use super::dto::UpdateVariant;
use crate::{
    admin::{
        changed,
        products::{CreateVariant, check_option_values, check_skus, lock, position_of, refused, reply},
    },
    catalogue::VariantDto,
    error::{ApiError, ApiResult, FieldErrors, codes},
    http::{IfMatch, Tagged},
    state::AppState,
};

/// Variants of one product at most.
const MAX_VARIANTS: usize = 200;

/// The product, locked against other writers.
async fn locked(conn: &mut Conn, id: Uuid, if_match: &IfMatch) -> ApiResult<ProductDetail> {
    lock(conn, id, if_match).await?;
    detail::by_id(conn, id).await?.ok_or_else(|| ApiError::not_found("product"))
}

/// Of a product, `except` apart: whether its combination of options is taken, and whether the currency is another.
fn check_siblings(
    product: &ProductDetail,
    except: Option<Uuid>,
    values: Option<&Value>,
    price: Option<UnitPrice>,
    errors: &mut FieldErrors,
) {
    let others = || product.variants.iter().filter(|other| Some(other.id) != except);
    let combination = values.filter(|values| values.as_object().is_some_and(|values| !values.is_empty()));
    if combination.is_some_and(|values| others().any(|other| other.option_values == *values)) {
        errors.add("option_values", "duplicate", "are those of another variant");
    }
    if price.is_some_and(|price| others().any(|other| other.currency != price.currency().as_str())) {
        errors.add("price.currency", "invalid", "must be that of the other variants");
    }
}

async fn one(state: &AppState, conn: &mut Conn, product: Uuid, id: Uuid) -> ApiResult<Tagged<VariantDto>> {
    let product = reply(state, conn, product).await?;
    let variant = product.variants.into_iter().find(|variant| variant.id == id);
    let body = variant.ok_or_else(|| ApiError::not_found("variant"))?;
    Ok(Tagged { version: product.version, body })
}

async fn product_of(conn: &mut Conn, id: Uuid) -> ApiResult<Uuid> {
    variants::product_of(conn, id).await?.ok_or_else(|| ApiError::not_found("variant"))
}

/// The variant as it is now.
pub async fn get(state: &AppState, id: Uuid) -> ApiResult<Tagged<VariantDto>> {
    let mut conn = state.conn().await?;
    let product_id = product_of(&mut conn, id).await?;
    one(state, &mut conn, product_id, id).await
}

/// Adds a variant to a product.
pub async fn create(
    state: &AppState,
    product_id: Uuid,
    if_match: &IfMatch,
    request: CreateVariant,
) -> ApiResult<VariantDto> {
    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let product = locked(conn, product_id, if_match).await?;
            if product.variants.len() >= MAX_VARIANTS {
                let detail = format!("a product has at most {MAX_VARIANTS} variants");
                return Err(ApiError::conflict(codes::CONFLICT, detail));
            }
            let mut errors = FieldErrors::new();
            let last = product.variants.iter().map(|variant| variant.position).max();
            let position = last.map_or(position_of(0), |last| last.saturating_add(1));
            let variant = request.parse("", &product.options, position, &mut errors);
            if let Some(variant) = &variant {
                check_siblings(
                    &product,
                    None,
                    Some(&variant.option_values),
                    Some(variant.price),
                    &mut errors,
                );
            }
            let variant = errors.finish(variant)?;
            check_skus(conn, &[variant.sku.as_str()], None, |_| "sku".to_owned()).await?;
            let ids = variants::insert(conn, product_id, &[variant]).await.map_err(refused)?;
            changed(conn, &[product_id]).await?;
            let id = ids.first().ok_or_else(|| ApiError::internal("no variant was written"))?;
            Ok(one(state, conn, product_id, *id).await?.body)
        })
        .await
}

fn parse(request: UpdateVariant, product: &ProductDetail, id: Uuid) -> ApiResult<VariantChange> {
    let current = product.variants.iter().find(|variant| variant.id == id);
    let current = current.ok_or_else(|| ApiError::not_found("variant"))?;
    let mut errors = FieldErrors::new();
    let sku = request.sku.and_then(|sku| errors.take("sku", "invalid", Sku::parse(&sku)));
    let title = request.title.map(|title| errors.text("title", &title, 0, 200));
    let price = request.price.and_then(|price| price.parse("price", &mut errors));
    let currency = price.map_or_else(|| current.currency.clone(), |price| price.currency().to_string());
    let compare_at_price = match request.compare_at_price {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(compare) => compare.parse("compare_at_price", &mut errors).map(|compare| {
            if compare.currency().as_str() != currency {
                errors.add("compare_at_price.currency", "invalid", "must be the currency of the price");
            }
            Some(compare.amount())
        }),
    };
    let option_values = request.option_values.map(|values| {
        let values = check_option_values("", Some(values), &product.options, &mut errors);
        values.into_iter().map(|(name, value)| (name, Value::String(value))).collect::<Value>()
    });
    check_siblings(product, Some(id), option_values.as_ref(), price, &mut errors);
    errors.check()?;
    Ok(VariantChange {
        sku: sku.map(Into::into),
        title,
        price: price.map(UnitPrice::amount),
        currency: price.map(|price| price.currency().to_string()),
        compare_at_price,
        option_values,
        position: request.position,
        active: request.active,
    })
}

/// Changes a variant.
pub async fn update(
    state: &AppState,
    id: Uuid,
    if_match: &IfMatch,
    request: UpdateVariant,
) -> ApiResult<Tagged<VariantDto>> {
    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let product_id = product_of(conn, id).await?;
            let product = locked(conn, product_id, if_match).await?;
            let change = parse(request, &product, id)?;
            if let Some(sku) = &change.sku {
                check_skus(conn, &[sku.as_str()], Some(id), |_| "sku".to_owned()).await?;
            }
            variants::update(conn, id, &change).await.map_err(refused)?;
            changed(conn, &[product_id]).await?;
            one(state, conn, product_id, id).await
        })
        .await
}

/// Deletes a variant that has nothing on hand and nothing promised.
pub async fn delete(state: &AppState, id: Uuid, if_match: &IfMatch) -> ApiResult<()> {
    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let product_id = product_of(conn, id).await?;
            lock(conn, product_id, if_match).await?;
            if variants::has_stock(conn, product_id, Some(id)).await? {
                return Err(ApiError::conflict(
                    codes::CONFLICT,
                    "the variant is on hand or promised to orders; take it off sale (active: false) instead",
                ));
            }
            if !variants::delete(conn, id).await? {
                return Err(ApiError::not_found("variant"));
            }
            changed(conn, &[product_id]).await
        })
        .await
}
