//! The outermost layer: gives every request its id, every answer its headers, and tells log and metrics about both.

use std::time::Instant;

use poem::{
    Endpoint, IntoResponse, Middleware, PathPattern, Request, Response, Result,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
};
use waybill_jobs::trace;

use super::{RequestId, boundary, request_id};

/// See the module.
#[derive(Clone, Copy)]
pub struct Edge {
    /// Whether clients come over TLS, so that they may be told to keep doing so.
    pub https: bool,
}

impl<E: Endpoint> Middleware<E> for Edge {
    type Output = EdgeEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        EdgeEndpoint { inner, https: self.https }
    }
}

/// See [`Edge`].
pub struct EdgeEndpoint<E> {
    inner: E,
    https: bool,
}

impl<E: Endpoint> Endpoint for EdgeEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let started = Instant::now();
        let id = RequestId::of(&request);
        let method = request.method().clone();
        let span = tracing::info_span!(
            "request", request_id = %id, %method, path = request.original_uri().path(),
            trace_id = tracing::field::Empty
        );
        let parent = request.headers().get(trace::HEADER).and_then(|value| value.to_str().ok());
        let context = trace::join(&span, parent);
        request.set_data(id.clone());

        let mut response = match trace::within(context, span.clone(), self.inner.call(request)).await {
            Ok(response) => response.into_response(),
            Err(error) => span.in_scope(|| boundary::render(error, &id)),
        };

        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&id.0) {
            headers.insert(request_id::HEADER, value);
        }
        security_headers(headers, self.https);
        let route = response.data::<PathPattern>().map(|pattern| pattern.0.clone());
        let elapsed = started.elapsed();
        let status = response.status();
        record(&method, route.clone(), status, elapsed.as_secs_f64());
        // Health and metrics are asked for every few seconds by machines; their lines would drown the others.
        let route = route.as_deref().unwrap_or("unmatched");
        let ms = elapsed.as_secs_f64() * 1000.0;
        let status = status.as_u16();
        span.in_scope(|| {
            if route.starts_with("/v1") {
                tracing::info!(target: "waybill_api::access", route, status, ms, "served");
            } else {
                tracing::debug!(target: "waybill_api::access", route, status, ms, "served");
            }
        });
        Ok(response)
    }
}

/// What every answer says to browsers: this is data, for nobody's frame, cache or guesswork. Handlers may say otherwise.
fn security_headers(headers: &mut HeaderMap, https: bool) {
    const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
    const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
    const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
    const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    const A_YEAR_OF_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000");
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(NOTHING);
    if https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, A_YEAR_OF_TLS);
    }
}

fn record(method: &Method, route: Option<std::sync::Arc<str>>, status: StatusCode, seconds: f64) {
    let route = route.unwrap_or_else(|| "unmatched".into());
    let method = known(method);
    metrics::counter!(
        "waybill_http_requests_total",
        "method" => method, "route" => metrics::SharedString::from_shared(route.clone()), "status" => status.as_str().to_owned()
    )
    .increment(1);
    metrics::histogram!(
        "waybill_http_request_duration_seconds",
        "method" => method, "route" => metrics::SharedString::from_shared(route)
    )
    .record(seconds);
}

/// Clients may invent methods, and each would be a time series.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
