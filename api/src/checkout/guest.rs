//! The token that lets a guest read an order, told once per checkout, however often its answer is asked for.
//!
//! The order keeps a hash only. So that a repeated request gets the same answer:
//! * a cart's order has a token made of the cart's own, which every one of its checkouts brings along;
//! * any other token is random, and lies sealed in the stored answer for as long as that is kept.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;
use uuid::Uuid;
use waybill_platform::vault::Vault;

use crate::{
    auth::secret,
    error::{ApiError, ApiResult},
    orders::dto::OrderDto,
};

/// Where a stored answer keeps the sealed token. No field of the order's.
const SEALED: &str = "sealed_guest_token";

/// A token for a guest's order: derived from the cart's token, or random.
pub fn token(cart_token: Option<&str>) -> ApiResult<String> {
    match cart_token {
        Some(cart_token) => of_cart(cart_token),
        None => Ok(secret::generate("")),
    }
}

/// The token of the order that a guest's cart becomes.
pub fn of_cart(cart_token: &str) -> ApiResult<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(cart_token.as_bytes()).map_err(ApiError::internal)?;
    mac.update(b"waybill order token");
    Ok(BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// The answer as it is stored: its token sealed.
pub fn seal(vault: &Vault, order: &OrderDto) -> ApiResult<Value> {
    let mut stored = order.clone();
    let token = stored.guest_token.take();
    let mut body = poem_openapi::types::ToJSON::to_json(&stored).unwrap_or_default();
    if let (Some(token), Value::Object(body)) = (token, &mut body) {
        let sealed = vault.seal(token.as_bytes(), &purpose(order.id)).map_err(ApiError::internal)?;
        body.insert(SEALED.to_owned(), BASE64_URL_SAFE_NO_PAD.encode(sealed).into());
    }
    Ok(body)
}

/// The answer as it was given.
pub fn open(vault: &Vault, mut stored: Value) -> ApiResult<OrderDto> {
    let sealed = stored.as_object_mut().and_then(|body| body.remove(SEALED));
    let mut order = <OrderDto as poem_openapi::types::ParseFromJSON>::parse_from_json(Some(stored))
        .map_err(|e| ApiError::internal(e.into_message()))?;
    if let Some(Value::String(sealed)) = sealed {
        use secrecy::ExposeSecret;
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed).map_err(ApiError::internal)?;
        let token = vault.open(&sealed, &purpose(order.id)).map_err(ApiError::internal)?;
        order.guest_token = Some(String::from_utf8_lossy(token.expose_secret()).into_owned());
    }
    Ok(order)
}

fn purpose(order_id: Uuid) -> String {
    format!("guest_token:{order_id}")
}
