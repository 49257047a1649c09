//! Limits of rate, size and time.

use std::time::Duration;

use poem::{
    Endpoint, IntoResponse, Middleware, Request, Response, Result,
    http::{HeaderValue, Method, header},
};
use waybill_platform::Config;

use super::{ClientAddr, rate::RateLimiter};
use crate::error::{ApiError, too_large};

/// What `?wait=` may add to a request's time.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// What a multipart body is larger than its file: boundaries and headers of parts.
const MULTIPART_OVERHEAD: u64 = 64 * 1024;
/// Where files are uploaded: their own size limit, and no time limit, as they take as long as the line is slow.
const UPLOADS: &str = "/v1/admin/imports";

/// Applies the configured limits.
pub struct Limits {
    rate: std::sync::Arc<RateLimiter>,
    body: u64,
    upload: u64,
    time: Duration,
    trusted_proxies: u16,
}

impl Limits {
    /// As configured.
    pub fn new(config: &Config) -> Self {
        Self {
            rate: std::sync::Arc::new(RateLimiter::new(&config.rate_limit)),
            body: config.api.body_limit_bytes as u64,
            upload: config.api.upload_limit_bytes.saturating_add(MULTIPART_OVERHEAD),
            time: config.api.request_timeout,
            trusted_proxies: config.rate_limit.trusted_proxies,
        }
    }
}

impl<E: Endpoint> Middleware<E> for Limits {
    type Output = LimitsEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        LimitsEndpoint {
            inner,
            rate: self.rate.clone(),
            body: self.body,
            upload: self.upload,
            time: self.time,
            trusted_proxies: self.trusted_proxies,
        }
    }
}

/// See [`Limits`].
pub struct LimitsEndpoint<E> {
    inner: E,
    rate: std::sync::Arc<RateLimiter>,
    body: u64,
    upload: u64,
    time: Duration,
    trusted_proxies: u16,
}

impl<E: Endpoint> Endpoint for LimitsEndpoint<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let rate = self.rate.check(ClientAddr::of(&request, self.trusted_proxies))?;
        let upload = request.method() == Method::POST && request.uri().path() == UPLOADS;
        let limit = if upload { self.upload } else { self.body };
        check_texts(&request)?;
        if content_length(&request).is_some_and(|length| length > limit) {
            return Err(too_large().into());
        }
        let mut response = if upload {
            self.inner.call(request).await?.into_response()
        } else {
            let time = match request.uri().query() {
                Some(query) if query.contains("wait=") => self.time + LONGEST_WAIT,
                _ => self.time,
            };
            let Ok(response) = tokio::time::timeout(time, self.inner.call(request)).await else {
                let detail = "the request took too long and was given up";
                return Err(ApiError::unavailable(detail, Duration::from_secs(1)).into());
            };
            response?.into_response()
        };
        if let Some(rate) = rate {
            if let Ok(value) = HeaderValue::from_str(&rate.header()) {
                response.headers_mut().insert("ratelimit", value);
            }
            response.headers_mut().insert("ratelimit-policy", self.rate.policy().clone());
        }
        Ok(response)
    }
}

/// 400 for a NUL in the path or the query: no text of ours can hold one, and Postgres refuses it wherever it gets one.
fn check_texts(request: &Request) -> Result<(), ApiError> {
    let uri = request.uri();
    let nul = |part: &str| part.contains("%00");
    if nul(uri.path()) || uri.query().is_some_and(nul) {
        return Err(ApiError::malformed("the address holds a NUL (%00), which no text here may"));
    }
    Ok(())
}

fn content_length(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use poem::{EndpointExt, endpoint::make};

    use super::*;

    fn limits() -> Limits {
        let variables = [
            ("WAYBILL_DATABASE__URL", "postgres://host/name"),
            ("WAYBILL_API__REQUEST_TIMEOUT", "100ms"),
            ("WAYBILL_API__BODY_LIMIT_BYTES", "1024"),
            ("WAYBILL_API__UPLOAD_LIMIT_BYTES", "4096"),
        ];
        Limits::new(&Config::from_variables(variables).unwrap())
    }

    /// Seconds that pass at once, as nothing else is to be done.
    #[tokio::test(start_paused = true)]
    async fn requests_end_at_their_time_but_uploads_and_long_polls_have_more() {
        let slow = make(|_| async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok::<_, poem::Error>(Response::default())
        });
        let app = slow.with(limits());
        let call = |method: Method, path: &'static str| {
            app.call(Request::builder().method(method).uri_str(path).finish())
        };
        let refused = call(Method::GET, "/v1/orders/1").await.unwrap_err();
        assert_eq!(refused.downcast_ref::<ApiError>().unwrap().code(), "unavailable");
        assert!(call(Method::GET, "/v1/orders/1?wait=30").await.is_ok());
        assert!(call(Method::POST, UPLOADS).await.is_ok());
        assert!(call(Method::GET, UPLOADS).await.is_err());
    }

    #[tokio::test]
    async fn uploads_have_a_size_of_their_own() {
        let app = make(|_| async { Ok::<_, poem::Error>(Response::default()) }).with(limits());
        let call = |path: &'static str, length: u64| {
            let request = Request::builder().method(Method::POST).uri_str(path);
            app.call(request.header(header::CONTENT_LENGTH, length).finish())
        };
        assert!(call("/v1/carts", 1024).await.is_ok());
        assert!(call("/v1/carts", 1025).await.is_err());
        assert!(call(UPLOADS, 4096).await.is_ok());
        assert!(call(UPLOADS, 4096 + MULTIPART_OVERHEAD + 1).await.is_err());
    }
}
