//! Health and metrics.

use std::sync::Arc;

use http::StatusCode;
use poem::web::Data;
use poem::{Response, handler};
use serde_json::json;

use crate::http::{App, response};
use crate::metrics::Page;

#[handler]
pub(crate) fn live() -> Response {
    response::json(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Not ready once the journal cannot be written: every operation would be refused.
#[handler]
pub(crate) fn ready(app: Data<&Arc<App>>) -> Response {
    let (status, word) = if app.gateway.is_ready() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "failed")
    };
    response::json(status, &json!({ "status": word, "checks": { "journal": word } }))
}

#[handler]
pub(crate) fn metrics(app: Data<&Arc<App>>) -> Response {
    let mut page = Page::default();
    app.gateway.metrics.print(&mut page);
    page.head("faults_total", "counter", "Scripted faults that struck, by kind.");
    let applied: Vec<_> = app.gateway.faults(|faults| faults.applied().collect());
    for (kind, count) in applied {
        page.line("faults_total", &format!("fault=\"{}\"", kind.name()), count);
    }
    let webhooks = app.gateway.webhooks.status();
    page.head("webhook_attempts_total", "counter", "Webhook POSTs made.");
    page.line("webhook_attempts_total", "", webhooks.attempts);
    page.head("webhook_events_total", "counter", "Webhook events, by what became of them.");
    for (outcome, count) in [
        ("delivered", webhooks.delivered),
        ("failed", webhooks.failed),
        ("dropped", webhooks.dropped),
        ("overflowed", webhooks.overflowed),
    ] {
        page.line("webhook_events_total", &format!("outcome=\"{outcome}\""), count);
    }
    page.head("webhook_events_pending", "gauge", "Webhook events waiting or being sent.");
    page.line("webhook_events_pending", "", webhooks.pending);
    let summary = app.gateway.summary();
    page.head("double_captures", "gauge", "References captured more than once.");
    page.line("double_captures", "", summary.double_captures);
    Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(page.into_text())
}
