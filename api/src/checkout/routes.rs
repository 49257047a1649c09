use poem::{Request, web::Data};
use poem_openapi::{OpenApi, param::Header};

use super::{accept, buyer::Buyer, dto::CheckoutRequest};
use crate::{
    app::Tag,
    auth::{Caller, Scope},
    error::ApiResult,
    http::Accepted,
    idempotency::{Key, KeyedBody},
    middleware::backpressure::Refused,
    orders::dto::OrderDto,
    state::AppState,
};

/// `/v1/checkout`.
pub struct Checkout;

#[OpenApi(prefix_path = "/v1/checkout", tag = "Tag::Checkout")]
impl Checkout {
    /// Place an order
    ///
    /// Accepts the order and answers at once; stock, payment and confirmation follow as a job. Follow it at `Location` by
    /// polling, long poll (`?wait=`) or server-sent events (`/events`).
    ///
    /// Prices, names and addresses are frozen as they are now. With an `Idempotency-Key` a request may be sent any number
    /// of times: the same body gets the same answer, another one 422 `idempotency_mismatch`, and one that comes while the
    /// first is under way 409 `idempotency_in_progress`. Keys are kept for 24 hours. A cart becomes one order, however
    /// many checkouts race: the others get that order.
    ///
    /// 403 without the scope that agreed prices or `customer_id` need; 404 for a cart that is not yours; 409
    /// `total_changed` when `expected_total` no longer holds, `conflict` for a cart that expired or was merged; 422 with
    /// every field at fault, unknown SKUs and those not on sale among them.
    #[oai(path = "/", method = "post", operation_id = "checkout")]
    async fn checkout(
        &self,
        caller: Caller,
        state: Data<&AppState>,
        request: &Request,
        /// Your own name for this request, 1 to 255 printable ASCII characters; a UUID serves well.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        /// The token of a guest's cart.
        #[oai(name = "X-Cart-Token")]
        cart_token: Header<Option<String>>,
        body: KeyedBody<CheckoutRequest>,
    ) -> ApiResult<Accepted<OrderDto>> {
        let KeyedBody { value: wanted, fingerprint } = body;
        if wanted.has_agreed_prices() {
            caller.require(Scope::AgreedPrices)?;
        }
        let buyer = Buyer::new(&caller, wanted.customer_id, cart_token.0)?;
        let draft = wanted.parse();
        let scope = buyer.key_scope(&caller, &draft.source, draft.terms.email.as_ref());
        let key = Key::parse(idempotency_key.0.as_deref(), scope, fingerprint)?;
        let order = accept::accept(&state, buyer, draft, key, Refused::of(request)).await?;
        Ok(Accepted { location: order.location(), body: order })
    }
}
