//! Which pages in browsers may call.

use poem::{http::Method, middleware::Cors};

/// For the origins configured; `*` for any. Credentials travel in headers that scripts set, never in cookies, so none are
/// allowed to be sent along.
pub fn layer(origins: &[String]) -> Cors {
    let mut cors = Cors::new()
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            "authorization",
            "content-type",
            "idempotency-key",
            "if-match",
            "if-none-match",
            "last-event-id",
            "x-api-key",
            "x-cart-token",
            "x-order-token",
            "x-request-id",
        ])
        .expose_headers(["etag", "location", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id"])
        .allow_credentials(false)
        .max_age(3600);
    if !origins.iter().any(|origin| origin == "*") {
        for origin in origins {
            cors = cors.allow_origin(origin.trim_end_matches('/'));
        }
    }
    cors
}
