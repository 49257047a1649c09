//! Changing a cart: one transaction, which the cart's row serialises.

use diesel_async::AsyncConnection;
use uuid::Uuid;
use waybill_schema::{
    Conn, Currency, Quantity, Sku,
    carts::{self, CartRow, CartStatus, Owner, lines},
};

use super::dto::CartDto;
use crate::{
    checkout::price,
    error::{ApiError, ApiResult, codes},
    state::AppState,
};

/// Different SKUs in a cart at most.
const MAX_LINES: usize = 1_000;

/// What to do with a cart.
#[derive(Debug)]
pub enum Change {
    /// Put more of a SKU in.
    Add(Sku, Quantity),
    /// Have this many of a SKU.
    Set(Sku, Quantity),
    /// Have none of a SKU.
    Remove(Sku),
    /// Have nothing.
    Clear,
}

/// Makes the change and answers the cart as it is then.
pub async fn change(state: &AppState, owner: &Owner, id: Uuid, change: Change) -> ApiResult<CartDto> {
    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            if !carts::touch(conn, owner, id).await? {
                return Err(closed(conn, owner, id).await?);
            }
            // Read after the row is ours, so with what changes before this one have left.
            let cart = find(conn, owner, id).await?;
            let before = lines::of_cart(conn, id).await?;
            match &change {
                Change::Add(sku, more) => {
                    let there = before.iter().find(|line| line.offer.sku == sku.as_str());
                    let there = there.map_or(0, |line| i64::from(line.quantity));
                    let quantity = Quantity::new(there + i64::from(more.get()))
                        .map_err(|e| ApiError::field("quantity", "invalid", e.to_string()))?;
                    set(conn, &cart, &before, sku, quantity).await?;
                }
                Change::Set(sku, quantity) => set(conn, &cart, &before, sku, *quantity).await?,
                Change::Remove(sku) => {
                    if !lines::remove(conn, id, sku).await? {
                        return Err(ApiError::not_found("line in the cart"));
                    }
                }
                Change::Clear => {
                    lines::clear(conn, id).await?;
                }
            }
            let after = lines::of_cart(conn, id).await?;
            CartDto::new(cart, after)
        })
        .await
}

/// The owner's cart, or 404.
pub async fn find(conn: &mut Conn, owner: &Owner, id: Uuid) -> ApiResult<CartRow> {
    carts::for_owner(conn, owner, id).await?.ok_or_else(|| ApiError::not_found("cart"))
}

/// Why a cart could not be changed.
async fn closed(conn: &mut Conn, owner: &Owner, id: Uuid) -> ApiResult<ApiError> {
    let cart = find(conn, owner, id).await?;
    let detail = match cart.status {
        CartStatus::CheckedOut => "the cart has become an order: fill another",
        CartStatus::Merged => "the cart was merged into the customer's",
        CartStatus::Expired | CartStatus::Open => "the cart has expired: fill another",
    };
    Ok(ApiError::conflict(codes::CONFLICT, detail).with("status", cart.status.as_str()))
}

async fn set(
    conn: &mut Conn,
    cart: &CartRow,
    before: &[lines::CartLine],
    sku: &Sku,
    quantity: Quantity,
) -> ApiResult<()> {
    let refuse = |code, message: String| ApiError::field("sku", code, message);
    let currency: Currency = cart.currency.parse().map_err(ApiError::internal)?;
    let known = before.iter().map(|line| &line.offer).find(|offer| offer.sku == sku.as_str());
    let is_new = known.is_none();
    let offer = match known {
        Some(offer) => offer.clone(),
        None => lines::offers(conn, &[sku.as_str()])
            .await?
            .pop()
            .ok_or_else(|| refuse("unknown", "there is no such SKU".to_owned()))?,
    };
    if let Some((code, message)) = price::obstacle(&offer, currency) {
        return Err(refuse(code, message));
    }
    if !offer.backorder && offer.available < i64::from(quantity.get()) {
        let available = offer.available.max(0);
        let detail = format!("only {available} of {sku} are available");
        return Err(ApiError::conflict(codes::OUT_OF_STOCK, detail).with("available", available));
    }
    if is_new && before.len() >= MAX_LINES {
        return Err(refuse("too_many", format!("a cart has at most {MAX_LINES} lines")));
    }
    Ok(lines::set(conn, cart.id, offer.variant_id, quantity).await?)
}
