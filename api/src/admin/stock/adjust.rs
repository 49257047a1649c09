use diesel_async::AsyncConnection;
use waybill_jobs::{
    emit,
    events::{StockDepleted, StockReplenished},
};
use waybill_schema::{
    Conn,
    inventory::levels::{self, Adjusted, Adjustment},
};

use super::dto::{AdjustStock, AdjustedDto};
use crate::{
    error::{ApiError, ApiResult, FieldErrors, codes},
    state::AppState,
};

fn parse(request: &AdjustStock) -> ApiResult<(Adjustment, String)> {
    let mut errors = FieldErrors::new();
    let reason = errors.text("reason", &request.reason, 1, 200);
    let adjustment = match (request.delta, request.on_hand) {
        (Some(0), None) => {
            errors.add("delta", "invalid", "must not be 0");
            None
        }
        (Some(delta), None) => Some(Adjustment::Delta(delta)),
        (None, Some(count)) if count >= 0 => Some(Adjustment::OnHand(count)),
        (None, Some(_)) => {
            errors.add("on_hand", "invalid", "must not be negative");
            None
        }
        (None, None) => {
            errors.add("delta", "required", "either delta or on_hand is required");
            None
        }
        (Some(_), Some(_)) => {
            errors.add("on_hand", "invalid", "either delta or on_hand, not both");
            None
        }
    };
    Ok((errors.finish(adjustment)?, reason))
}

/// Corrects a level, writes the ledger, and tells everybody if the variant was sold out before or is now.
pub async fn adjust(state: &AppState, request: &AdjustStock) -> ApiResult<AdjustedDto> {
    let (adjustment, reason) = parse(request)?;
    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let variant = levels::variant(conn, request.sku.trim()).await?;
            let variant = variant.ok_or_else(|| ApiError::field("sku", "not_found", "no variant has this SKU"))?;
            let location = levels::location(conn, request.location.as_deref()).await?;
            let location =
                location.ok_or_else(|| ApiError::field("location", "not_found", "there is no such location"))?;
            match levels::adjust(conn, variant.id, location, adjustment, &reason).await? {
                Adjusted::Refused { on_hand, reserved } => Err(ApiError::conflict(
                    codes::CONFLICT,
                    format!("{reserved} of the {on_hand} pieces on hand are promised to orders; fewer cannot be left"),
                )
                .with("on_hand", on_hand)
                .with("reserved", reserved)),
                Adjusted::Applied { level, delta, before, after, backorder } => {
                    let (product_id, variant_id, sku) = (variant.product_id, variant.id, level.sku.clone());
                    // What is sold beyond its stock is never sold out.
                    if !backorder && before > 0 && after <= 0 {
                        let event = StockDepleted { product_id, variant_id, sku, available: after };
                        emit(conn, &event, None).await?;
                    } else if !backorder && before <= 0 && after > 0 {
                        let event = StockReplenished { product_id, variant_id, sku, available: after };
                        emit(conn, &event, None).await?;
                    }
                    Ok(AdjustedDto { level: level.into(), delta })
                }
            }
        })
        .await
}
