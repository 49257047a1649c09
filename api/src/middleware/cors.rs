//! Which pages in browsers may call.

use poem::{
    Endpoint, Middleware, Request, Result,
    http::{Method, header, uri::Authority},
    middleware::Cors,
};
use url::Url;

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

/// Lets pages of our own address through: browsers name an origin with every write, and the layer would refuse one that is
/// not on the list, though nothing crosses from one origin to another. Goes around [`layer`].
#[derive(Clone)]
pub struct SameOrigin {
    public: String,
}

impl SameOrigin {
    /// For an API that is known as `public_url`, and as whatever `Host` a request names.
    pub fn new(public_url: &Url) -> Self {
        Self { public: public_url.origin().ascii_serialization() }
    }

    fn is_own(&self, request: &Request) -> bool {
        let Some(origin) = request.header(header::ORIGIN) else { return false };
        if origin == self.public {
            return true;
        }
        let host = request.header(header::HOST).or_else(|| request.uri().authority().map(Authority::as_str));
        let named = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        named.is_some() && named == host
    }
}

impl<E: Endpoint> Middleware<E> for SameOrigin {
    type Output = SameOriginEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        SameOriginEndpoint { inner, own: self.clone() }
    }
}

/// See [`SameOrigin`].
pub struct SameOriginEndpoint<E> {
    inner: E,
    own: SameOrigin,
}

impl<E: Endpoint> Endpoint for SameOriginEndpoint<E> {
    type Output = E::Output;

    async fn call(&self, mut request: Request) -> Result<E::Output> {
        if self.own.is_own(&request) {
            request.headers_mut().remove(header::ORIGIN);
        }
        self.inner.call(request).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use poem::{EndpointExt, Response, endpoint::make_sync, http::StatusCode};

    use super::*;

    #[tokio::test]
    async fn pages_of_our_own_may_write_and_strangers_may_not() {
        let app = make_sync(|_| Response::default())
            .with(layer(&["https://shop.example".to_owned()]))
            .with(SameOrigin::new(&Url::parse("https://api.example/").unwrap()));
        for (origin, host, allowed) in [
            ("https://shop.example", "api.example", true),
            ("https://api.example", "10.0.0.7:8080", true),
            ("http://10.0.0.7:8080", "10.0.0.7:8080", true),
            ("https://evil.example", "api.example", false),
            ("https://api.example.evil.example", "api.example", false),
            ("null", "api.example", false),
        ] {
            let request =
                Request::builder().method(Method::POST).header("origin", origin).header("host", host);
            let status = app.get_response(request.finish()).await.status();
            assert_eq!(status != StatusCode::FORBIDDEN, allowed, "{origin} at {host}");
        }
    }
}
