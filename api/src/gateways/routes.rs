use poem::{Request, web::Data};
use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use super::inbound;
use crate::{app::Tag, error::ApiResult, http::RawBody, state::AppState};

/// `/v1/gateways`.
pub struct Gateways;

/// The event is ours to handle now.
#[derive(Debug, Object)]
pub struct Receipt {
    /// Always true.
    received: bool,
}

#[OpenApi(prefix_path = "/v1/gateways", tag = "Tag::Gateways")]
impl Gateways {
    /// What a payment gateway tells us
    ///
    /// Signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp` (not more than five minutes off),
    /// `webhook-signature`. Stored as it came, once per id, and handled by a job; an event that came before is answered the
    /// same and changes nothing. 401 for a signature that does not fit, 404 for an unknown gateway.
    #[oai(path = "/:gateway/webhooks", method = "post", operation_id = "receiveGatewayEvent")]
    async fn receive(
        &self,
        state: Data<&AppState>,
        request: &Request,
        /// `sandbox`.
        gateway: Path<String>,
        body: RawBody,
    ) -> ApiResult<Json<Receipt>> {
        inbound::receive(&state, &gateway.0, request.headers(), &body.0).await?;
        Ok(Json(Receipt { received: true }))
    }
}
