use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Header, Path},
    payload::Json,
};
use uuid::Uuid;
use waybill_schema::{
    Currency, Quantity, Sku,
    carts::{self, Owner, lines},
};

use super::{
    change::{self, Change, change},
    dto::{AddLine, CartDto, OpenCart, SetLine},
};
use crate::{
    app::Tag,
    auth::{Caller, secret},
    error::{ApiError, ApiResult, FieldErrors},
    http::{Body, Created, Reply},
    state::AppState,
};

/// How a guest's cart token begins.
const TOKEN_PREFIX: &str = "wbc_";

/// `/v1/carts`.
pub struct Carts;

#[OpenApi(prefix_path = "/v1/carts", tag = "Tag::Carts")]
impl Carts {
    /// Open a cart
    ///
    /// A guest gets a new one with its token, told once. A customer has one open cart: if there is one already, that is the
    /// answer (200). Carts are kept for 7 days after their last change.
    #[oai(path = "/", method = "post", operation_id = "openCart")]
    async fn open(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        body: Body<OpenCart>,
    ) -> ApiResult<Reply<CartDto>> {
        let currency = match body.0.currency.as_deref() {
            None => state.currency,
            Some(code) => {
                Currency::parse(code).map_err(|e| ApiError::field("currency", "invalid", e.to_string()))?
            }
        };
        let (owner, token) = if let Some(user_id) = caller.user_id() {
            (Owner::Customer(user_id), None)
        } else {
            let token = secret::generate(TOKEN_PREFIX);
            (Owner::Guest(secret::hash(&token)), Some(token))
        };
        let mut conn = state.conn().await?;
        let (cart, created) = carts::open(&mut conn, &owner, currency).await?;
        if !created {
            let lines = lines::of_cart(&conn, cart.id).await?;
            return Ok(Reply::Found(CartDto::new(cart, lines)?));
        }
        let location = format!("/v1/carts/{}", cart.id);
        let body = CartDto { token, ..CartDto::new(cart, Vec::new())? };
        Ok(Reply::Created(Created { location, body }))
    }

    /// A cart
    ///
    /// Priced as the catalogue stands now; `problem` names lines that cannot be bought as they are. 404 for a cart that is
    /// not yours.
    #[oai(path = "/:id", method = "get", operation_id = "getCart")]
    async fn get(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// The token of a guest's cart.
        #[oai(name = "X-Cart-Token")]
        cart_token: Header<Option<String>>,
    ) -> ApiResult<Json<CartDto>> {
        let owner = owner(&caller, cart_token.0.as_deref())?;
        let mut conn = state.conn().await?;
        let cart = change::find(&mut conn, &owner, id.0).await?;
        let lines = lines::of_cart(&conn, id.0).await?;
        Ok(Json(CartDto::new(cart, lines)?))
    }

    /// Put something into a cart
    ///
    /// Adds to what is there. 409 `out_of_stock` with `available` if there is not that much in all; 409 `conflict` if the
    /// cart is no longer open; 422 for a SKU that is unknown, not on sale or priced in another currency.
    #[oai(path = "/:id/lines", method = "post", operation_id = "addCartLine")]
    async fn add(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// The token of a guest's cart.
        #[oai(name = "X-Cart-Token")]
        cart_token: Header<Option<String>>,
        body: Body<AddLine>,
    ) -> ApiResult<Json<CartDto>> {
        let owner = owner(&caller, cart_token.0.as_deref())?;
        let mut errors = FieldErrors::new();
        let sku = errors.take("sku", "invalid", Sku::parse(&body.0.sku));
        let quantity = errors.take("quantity", "invalid", Quantity::new(body.0.quantity));
        let (sku, quantity) = errors.finish(sku.zip(quantity))?;
        Ok(Json(change(&state, &owner, id.0, Change::Add(sku, quantity)).await?))
    }

    /// Set how many of a SKU are in a cart
    ///
    /// 0 takes the line out. Refused as adding is.
    #[oai(path = "/:id/lines/:sku", method = "put", operation_id = "setCartLine")]
    async fn set(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// Stock keeping unit.
        sku: Path<String>,
        /// The token of a guest's cart.
        #[oai(name = "X-Cart-Token")]
        cart_token: Header<Option<String>>,
        body: Body<SetLine>,
    ) -> ApiResult<Json<CartDto>> {
        let owner = owner(&caller, cart_token.0.as_deref())?;
        let sku = in_path(&sku.0)?;
        let wanted = match body.0.quantity {
            0 => Change::Remove(sku),
            quantity => {
                let quantity = Quantity::new(quantity)
                    .map_err(|e| ApiError::field("quantity", "invalid", format!("{e}, or 0 to remove")))?;
                Change::Set(sku, quantity)
            }
        };
        Ok(Json(change(&state, &owner, id.0, wanted).await?))
    }

    /// Take a SKU out of a cart
    #[oai(path = "/:id/lines/:sku", method = "delete", operation_id = "removeCartLine")]
    async fn remove(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// Stock keeping unit.
        sku: Path<String>,
        /// The token of a guest's cart.
        #[oai(name = "X-Cart-Token")]
        cart_token: Header<Option<String>>,
    ) -> ApiResult<Json<CartDto>> {
        let owner = owner(&caller, cart_token.0.as_deref())?;
        let sku = in_path(&sku.0)?;
        Ok(Json(change(&state, &owner, id.0, Change::Remove(sku)).await?))
    }

    /// Empty a cart
    #[oai(path = "/:id/lines", method = "delete", operation_id = "clearCart")]
    async fn clear(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        id: Path<Uuid>,
        /// The token of a guest's cart.
        #[oai(name = "X-Cart-Token")]
        cart_token: Header<Option<String>>,
    ) -> ApiResult<Json<CartDto>> {
        let owner = owner(&caller, cart_token.0.as_deref())?;
        Ok(Json(change(&state, &owner, id.0, Change::Clear).await?))
    }
}

/// Whose carts are asked for: a guest's by its token, whoever sends it, else the signed-in customer's.
fn owner(caller: &Caller, cart_token: Option<&str>) -> ApiResult<Owner> {
    match (cart_token, caller.user_id()) {
        (Some(token), _) => Ok(Owner::Guest(secret::hash(token))),
        (None, Some(user_id)) => Ok(Owner::Customer(user_id)),
        (None, None) => Err(ApiError::unauthenticated("sign in, or send the cart's token in X-Cart-Token")),
    }
}

/// A SKU in a path names a line; a text that is none names nothing.
fn in_path(sku: &str) -> ApiResult<Sku> {
    Sku::parse(sku).map_err(|_| ApiError::not_found("line in the cart"))
}
