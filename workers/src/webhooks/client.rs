//! The HTTP client for receivers: it connects to the very addresses that were checked, follows nothing, and reads little.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{
    Client, Response, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use url::Url;
use waybill_jobs::trace;
use waybill_platform::{
    http,
    signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER},
};

use super::address::{Forbidden, Rules};

/// Characters of an answer that the log keeps.
const EXCERPT_CHARS: usize = 1_000;
/// Bytes read of an answer: four per character of the excerpt at most. What is longer costs us the connection, which is
/// cheaper than reading it.
const EXCERPT_BYTES: usize = 4 * EXCERPT_CHARS;

/// Resolves names and leaves only addresses that the rules allow. The connection is made to what this returns, so a name
/// that resolves to something else a moment later (DNS rebinding) gains nothing.
struct GuardedResolver(Rules);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                found.iter().copied().filter(|address| rules.check_address(address.ip()).is_ok()).collect();
            match (allowed.is_empty(), found.first()) {
                (true, Some(address)) => Err(Forbidden::Address(address.ip()).into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// A signed message to a receiver.
pub struct Request<'a> {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`, Unix seconds.
    pub timestamp: i64,
    /// `webhook-signature`.
    pub signature: String,
    /// The body.
    pub body: &'a str,
}

/// What a receiver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The beginning of the body, without characters that Postgres does not take.
    pub excerpt: String,
    /// How long it asks us to wait.
    pub retry_after: Option<Duration>,
}

/// Why there is no answer. No URL in it: that may hold a receiver's own secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The address is not one to call.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// Too slow.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Not reached.
    #[error("{0}")]
    Connection(String),
}

/// Calls receivers.
#[derive(Clone)]
pub struct Receivers {
    client: Client,
    rules: Rules,
    timeout: Duration,
}

impl Receivers {
    /// A client for receivers that the rules allow; each call ends within `timeout`.
    pub fn new(rules: Rules, timeout: Duration) -> reqwest::Result<Self> {
        let resolver = Arc::new(GuardedResolver(rules));
        let build = |builder: reqwest::ClientBuilder| builder.dns_resolver(Arc::clone(&resolver)).build();
        let client = match build(http::builder(timeout)) {
            // A host without certificates of its own, as a container from scratch.
            Err(error) if error.is_builder() => {
                build(http::builder(timeout).tls_certs_only(http::bundled_roots()))?
            }
            built => built?,
        };
        Ok(Self { client, rules, timeout })
    }

    /// Posts a message and reads the beginning of the answer.
    pub async fn post(&self, url: &str, request: Request<'_>) -> Result<Answer, NoAnswer> {
        let url: Url = self.rules.check_url(url)?;
        let mut post = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(ID_HEADER, request.id)
            .header(TIMESTAMP_HEADER, request.timestamp)
            .header(SIGNATURE_HEADER, request.signature)
            .body(request.body.to_owned());
        if let Some(traceparent) = trace::traceparent() {
            post = post.header(trace::HEADER, traceparent);
        }
        let response = post.send().await.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after);
        Ok(Answer { status, excerpt: excerpt(response).await, retry_after })
    }

    fn no_answer(&self, error: &reqwest::Error) -> NoAnswer {
        let mut source = std::error::Error::source(error);
        let mut innermost = None;
        while let Some(cause) = source {
            if let Some(forbidden) = cause.downcast_ref::<Forbidden>() {
                return forbidden.clone().into();
            }
            innermost = Some(cause.to_string());
            source = cause.source();
        }
        if error.is_timeout() {
            return NoAnswer::Timeout(self.timeout);
        }
        let what = if error.is_connect() { "no connection" } else { "the connection broke" };
        NoAnswer::Connection(innermost.map_or_else(|| what.to_owned(), |why| format!("{what}: {why}")))
    }
}

/// The first characters of the body; an answer that breaks off or dawdles counts as far as it came, because the status
/// has said what matters.
async fn excerpt(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < EXCERPT_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk[..chunk.len().min(EXCERPT_BYTES)]),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    text.chars().filter(|c| *c != '\0').take(EXCERPT_CHARS).collect()
}

/// `Retry-After` as seconds or as a date (RFC 9110, 10.2.3); a date that has passed is no wish.
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(value).ok()?;
    (at.to_utc() - chrono::Utc::now()).to_std().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::retry_after;

    #[test]
    fn a_wish_to_wait_comes_as_seconds_or_as_a_date() {
        assert_eq!(retry_after("120"), Some(Duration::from_mins(2)));
        assert_eq!(retry_after(" 0 "), Some(Duration::ZERO));
        assert_eq!(retry_after("-5"), None);
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        let in_an_hour =
            (chrono::Utc::now() + chrono::TimeDelta::hours(1)).format("%a, %d %b %Y %H:%M:%S GMT");
        assert!(retry_after(&in_an_hour.to_string()).is_some_and(|wait| wait > Duration::from_secs(3_500)));
    }
}
