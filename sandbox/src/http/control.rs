//! The endpoints that script the gateway. They ask for no key; a gateway listens on loopback unless told otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use poem::web::Data;
use poem::{Body, Response, handler};
use serde::{Deserialize, Serialize};

use crate::faults::{FaultSpec, Waiting};
use crate::http::{App, request, response};
use crate::refusal::{Refusal, raw};
use crate::webhooks::{Target, WebhookSecret};

#[derive(Serialize)]
struct FaultList<'a> {
    /// The faults that wait, in the order in which they are tried.
    data: &'a [Waiting],
    /// How often each kind has struck since the start or the last reset.
    applied: BTreeMap<&'static str, u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookBody {
    url: Option<String>,
    secret: Option<String>,
}

#[handler]
pub(crate) fn faults(app: Data<&Arc<App>>) -> Response {
    let list = app.gateway.faults(|faults| {
        let applied = faults.applied().map(|(kind, count)| (kind.name(), count)).collect();
        raw(&FaultList { data: faults.waiting(), applied })
    });
    response::json(StatusCode::OK, &list)
}

#[handler]
pub(crate) async fn add_fault(app: Data<&Arc<App>>, body: Body) -> poem::Result<Response> {
    let bytes = request::read(body).await?;
    let spec: FaultSpec = request::json(&bytes)?;
    Ok(response::json(StatusCode::CREATED, &app.gateway.add_fault(spec)?))
}

#[handler]
pub(crate) fn clear_faults(app: Data<&Arc<App>>) -> StatusCode {
    app.gateway.clear_faults();
    StatusCode::NO_CONTENT
}

#[handler]
pub(crate) fn webhooks(app: Data<&Arc<App>>) -> Response {
    response::json(StatusCode::OK, &app.gateway.webhooks.status())
}

/// Sends webhooks elsewhere from now on; `{"url": null}` sends none. For a receiver whose address is only known after
/// the gateway has started.
#[handler]
pub(crate) async fn set_webhooks(app: Data<&Arc<App>>, body: Body) -> poem::Result<Response> {
    let bytes = request::read(body).await?;
    let target = match request::json(&bytes)? {
        WebhookBody { url: None, .. } => None,
        WebhookBody { url: Some(url), secret } => {
            let secret: WebhookSecret =
                secret.ok_or_else(|| Refusal::invalid("secret", "is needed with a url"))?.parse().map_err(
                    |error: crate::webhooks::SecretError| Refusal::invalid("secret", error.to_string()),
                )?;
            Some(Target::new(&url, secret).map_err(|error| Refusal::invalid("url", error.to_string()))?)
        }
    };
    app.gateway.webhooks.set_target(target);
    Ok(response::json(StatusCode::OK, &app.gateway.webhooks.status()))
}

#[handler]
pub(crate) async fn reset(app: Data<&Arc<App>>) -> poem::Result<StatusCode> {
    let position = app.gateway.reset()?;
    app.gateway.written(position).await?;
    Ok(StatusCode::NO_CONTENT)
}
