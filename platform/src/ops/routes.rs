//! `/health/live`, `/health/ready` and `/metrics`, on every binary.

use std::{io, net::SocketAddr};

use poem::{
    EndpointExt, IntoResponse, Response, Route, Server, get, handler,
    http::{StatusCode, header},
    listener::{Acceptor, Listener, TcpListener},
    web::{Data, Json},
};
use tokio_util::sync::CancellationToken;

use super::Readiness;
use crate::telemetry;

/// The three routes, to be nested beside a service's own or served alone by [`serve`].
pub fn routes(readiness: Readiness) -> Route {
    // Counting starts here, even when nobody asked for the handle before.
    telemetry::metrics();
    Route::new()
        .at("/health/live", get(live))
        .at("/health/ready", get(ready).data(readiness))
        .at("/metrics", get(metrics))
}

/// Serves the three routes on `listen` (port 0 takes a free one) and returns the address.
///
/// When `shutdown` is cancelled the process is no longer ready, but health and metrics go on being served while it
/// drains: a liveness probe must not kill a worker in the middle of its last jobs. The server ends with the runtime.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    listen: SocketAddr,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> io::Result<SocketAddr> {
    let acceptor = TcpListener::bind(listen).into_acceptor().await?;
    let address = acceptor
        .local_addr()
        .iter()
        .find_map(|address| address.as_socket_addr().copied())
        .ok_or_else(|| io::Error::other("the listener has no socket address"))?;
    let drained = readiness.clone();
    // Made here and not in the task: what is counted before the task first runs must be counted too.
    let app = routes(readiness);
    tokio::spawn(async move {
        shutdown.cancelled().await;
        drained.drain();
    });
    tokio::spawn(async move {
        if let Err(error) = Server::new_with_acceptor(acceptor).run(app).await {
            tracing::error!(%error, "health and metrics are no longer served");
        }
    });
    Ok(address)
}

#[handler]
fn live() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "live" }))
}

#[handler]
async fn ready(Data(readiness): Data<&Readiness>) -> Response {
    let report = readiness.report().await;
    let status = if report.status.takes_work() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Json(report).with_status(status).with_header(header::CACHE_CONTROL, "no-store").into_response()
}

#[handler]
fn metrics() -> Response {
    Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(telemetry::render())
}
