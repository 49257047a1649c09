//! Reading requests strictly: into commands, or into a refusal that names the field.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use poem::error::ReadBodyError;
use poem::{Body, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::money::{Currency, Money};
use crate::refusal::Refusal;

/// The largest body taken: a payment needs a few hundred bytes.
const MAX_BODY: usize = 64 << 10;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const MAX_KEY: usize = 255;
const MAX_REFERENCE: usize = 255;

/// `{amount, currency, token, reference}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorizeBody<'a> {
    #[serde(borrow)]
    pub(crate) amount: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) currency: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) token: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) reference: Cow<'a, str>,
}

/// `{amount, currency}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoneyBody<'a> {
    #[serde(borrow)]
    pub(crate) amount: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) currency: Cow<'a, str>,
}

/// `{}`: a void is always of everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmptyBody {}

impl MoneyBody<'_> {
    pub(crate) fn money(&self) -> Result<Money, Refusal> {
        money(&self.amount, &self.currency)
    }
}

pub(crate) fn money(amount: &str, currency: &str) -> Result<Money, Refusal> {
    let currency: Currency = currency.parse().map_err(|error| refuse("currency", error))?;
    Money::parse(amount, currency).map_err(|error| refuse("amount", error))
}

fn refuse(field: &'static str, error: crate::money::MoneyError) -> Refusal {
    Refusal::invalid(field, error.to_string())
}

/// The `Idempotency-Key` header.
pub(crate) fn idempotency_key(request: &Request) -> Result<Arc<str>, Refusal> {
    request
        .header("idempotency-key")
        .filter(|key| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(Arc::from)
        .ok_or(Refusal::KeyRequired)
}

/// The merchant's own name for a payment, such as an order number.
pub(crate) fn reference(text: &str) -> Result<Arc<str>, Refusal> {
    if text.trim().is_empty() || text.len() > MAX_REFERENCE || text.chars().any(char::is_control) {
        return Err(Refusal::invalid(
            "reference",
            format!("must have 1 to {MAX_REFERENCE} bytes and no control characters"),
        ));
    }
    Ok(text.into())
}

/// The whole body, within size and time.
pub(crate) async fn read(body: Body) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIMEOUT, body.into_bytes_limit(MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(ReadBodyError::PayloadTooLarge)) => Err(Refusal::TooLarge(MAX_BODY)),
        Ok(Err(error)) => Err(Refusal::Malformed(error.to_string())),
        Err(_) => Err(Refusal::SlowBody),
    }
}

/// `bytes` as JSON. Broken syntax is 400; JSON that is not this object is 422.
pub(crate) fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            Refusal::invalid("body", format!("is not as expected: {error}"))
        } else {
            Refusal::Malformed(error.to_string())
        }
    })
}

/// The query string.
pub(crate) fn query<T: DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    request.params().map_err(|error| Refusal::invalid("query", format!("is not as expected: {error}")))
}
