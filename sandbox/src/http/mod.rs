//! The gateway's HTTP surface.

mod control;
mod operations;
mod payments;
mod reads;
mod request;
mod response;

use std::sync::Arc;

use poem::endpoint::BoxEndpoint;
use poem::{Endpoint, EndpointExt, Request, Response, Route, get, post};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use crate::connections::Connections;
use crate::gateway::Gateway;
use crate::refusal::Refusal;

/// What every handler works with.
pub(crate) struct App {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) connections: Connections,
    pub(crate) api_key: String,
    /// Fires when the server is to stop: nothing hangs longer.
    pub(crate) stopping: CancellationToken,
}

/// All routes.
pub(crate) fn routes(app: Arc<App>) -> BoxEndpoint<'static, Response> {
    let key = Arc::clone(&app);
    let payments =
        Route::new()
            .at("/authorizations", post(payments::authorize))
            .at("/authorizations/:id", get(reads::authorization))
            .at("/authorizations/:id/captures", post(payments::capture))
            .at("/authorizations/:id/voids", post(payments::void))
            .at("/captures/:id/refunds", post(payments::refund))
            .at("/operations/:key", get(reads::operation))
            .at("/ledger", get(reads::ledger))
            .at("/ledger/summary", get(reads::summary))
            .around(move |endpoint, request| {
                let allowed = is_authorized(&key.api_key, &request);
                async move {
                    if allowed { endpoint.call(request).await } else { Err(Refusal::Unauthorized.into()) }
                }
            });
    Route::new()
        .nest("/v1", payments)
        .at("/control/faults", get(control::faults).post(control::add_fault).delete(control::clear_faults))
        .at("/control/webhooks", get(control::webhooks).put(control::set_webhooks))
        .at("/control/reset", post(control::reset))
        .at("/health/live", get(operations::live))
        .at("/health/ready", get(operations::ready))
        .at("/metrics", get(operations::metrics))
        .data(app)
        .catch_all_error(|error| async move { response::of_error(error) })
        .boxed()
}

fn is_authorized(api_key: &str, request: &Request) -> bool {
    let header = request.header("authorization").unwrap_or_default();
    let (scheme, given) = header.split_once(' ').unwrap_or_default();
    scheme.eq_ignore_ascii_case("bearer") && bool::from(given.as_bytes().ct_eq(api_key.as_bytes()))
}
