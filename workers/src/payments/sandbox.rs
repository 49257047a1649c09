//! The sandbox gateway's HTTP API.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use waybill_jobs::trace;
use waybill_platform::config::SandboxConfig;
use waybill_schema::{Currency, Money};

use super::gateway::{
    ALREADY_CAPTURED, Answer, Authorize, Capture, EventError, Fact, FactKind, Gateway, GatewayError,
    Operation, Refund, Void,
};

/// A client of the sandbox gateway.
pub struct Sandbox {
    client: Client,
    base: Url,
    api_key: SecretString,
}

/// The objects of its API, as far as we look at them: `id` of an authorization, capture, void or refund.
#[derive(Deserialize)]
struct Object {
    id: String,
    #[serde(default)]
    amount: Option<String>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
    #[serde(default)]
    authorization_id: Option<String>,
    #[serde(default)]
    reference: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    detail: String,
}

#[derive(Deserialize)]
struct StoredOperation {
    status_code: u16,
    response: Value,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    data: Value,
}

impl Sandbox {
    /// A client with the configured address, key and timeout. Connects to nothing yet.
    pub fn new(config: &SandboxConfig) -> reqwest::Result<Self> {
        let client = waybill_platform::http::client(config.timeout)?;
        Ok(Self { client, base: config.url.clone(), api_key: config.api_key.clone() })
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, GatewayError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| unavailable("the gateway's address cannot have a path"))?
            .pop_if_empty()
            .extend(path);
        let request = self.client.request(method, url).bearer_auth(self.api_key.expose_secret());
        Ok(match trace::traceparent() {
            Some(traceparent) => request.header(trace::HEADER, traceparent),
            None => request,
        })
    }

    async fn post(
        &self,
        operation: Operation,
        key: &str,
        path: &[&str],
        body: Value,
    ) -> Result<Answer, GatewayError> {
        let request = self.request(Method::POST, path)?.header("idempotency-key", key).json(&body);
        let response = request.send().await.map_err(not_sent_or_unknown)?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let body: Value = response.json().await.map_err(|e| GatewayError::Unknown(describe(e)))?;
        read_answer(operation, status, retry_after, &body)
    }
}

#[async_trait]
impl Gateway for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    async fn authorize(&self, key: &str, request: &Authorize) -> Result<Answer, GatewayError> {
        let body = json!({
            "amount": request.amount.amount().to_string(),
            "currency": request.amount.currency(),
            "token": request.token,
            "reference": request.reference,
        });
        self.post(Operation::Authorize, key, &["v1", "authorizations"], body).await
    }

    async fn capture(&self, key: &str, request: &Capture) -> Result<Answer, GatewayError> {
        let path = ["v1", "authorizations", request.authorization_ref.as_str(), "captures"];
        self.post(Operation::Capture, key, &path, amount_body(request.amount)).await
    }

    async fn void(&self, key: &str, request: &Void) -> Result<Answer, GatewayError> {
        let path = ["v1", "authorizations", request.authorization_ref.as_str(), "voids"];
        self.post(Operation::Void, key, &path, json!({})).await
    }

    async fn refund(&self, key: &str, request: &Refund) -> Result<Answer, GatewayError> {
        let path = ["v1", "captures", request.capture_ref.as_str(), "refunds"];
        self.post(Operation::Refund, key, &path, amount_body(request.amount)).await
    }

    async fn lookup(&self, key: &str, operation: Operation) -> Result<Option<Answer>, GatewayError> {
        let request = self.request(Method::GET, &["v1", "operations", key])?;
        let response = request.send().await.map_err(not_sent_or_unknown)?;
        match response.status() {
            StatusCode::OK => {
                let stored: StoredOperation =
                    response.json().await.map_err(|e| GatewayError::Unknown(describe(e)))?;
                let status = StatusCode::from_u16(stored.status_code)
                    .map_err(|_| GatewayError::Unknown(format!("status {}", stored.status_code)))?;
                read_answer(operation, status, None, &stored.response).map(Some)
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(GatewayError::Unknown(format!("the question was answered {status}"))),
        }
    }

    fn read_event(&self, payload: &Value) -> Result<Fact, EventError> {
        let unreadable = |e: serde_json::Error| EventError(e.to_string());
        let event = Event::deserialize(payload).map_err(unreadable)?;
        let object = Object::deserialize(&event.data).map_err(unreadable)?;
        let amount = || object.money().ok_or_else(|| EventError("no amount".to_owned()));
        let kind = match event.r#type.as_str() {
            "authorization.succeeded" => FactKind::Authorized(amount()?),
            "authorization.declined" => FactKind::Declined {
                code: object.decline_code.clone().unwrap_or_else(|| "declined".to_owned()),
            },
            "capture.succeeded" => FactKind::Captured { capture_ref: object.id.clone(), amount: amount()? },
            "authorization.voided" => FactKind::Voided,
            "refund.succeeded" => FactKind::Refunded { amount: amount()? },
            _ => FactKind::Other,
        };
        let order_id = object.reference.as_deref().and_then(|reference| reference.parse().ok());
        Ok(Fact { kind, authorization_ref: object.authorization_id.unwrap_or(object.id), order_id })
    }
}

impl Object {
    fn money(&self) -> Option<Money> {
        let currency = Currency::parse(self.currency.as_deref()?).ok()?;
        Money::new(self.amount.as_deref()?.parse().ok()?, currency).ok()
    }
}

fn amount_body(amount: Money) -> Value {
    json!({ "amount": amount.amount().to_string(), "currency": amount.currency() })
}

/// What an answer means. A status that says neither "done" nor "not done" leaves it open.
fn read_answer(
    operation: Operation,
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &Value,
) -> Result<Answer, GatewayError> {
    let problem = || Problem::deserialize(body).ok();
    let code = |problem: &Option<Problem>| problem.as_ref().map_or(status.to_string(), |p| p.code.clone());
    match status {
        StatusCode::OK | StatusCode::CREATED => {
            let object = Object::deserialize(body)
                .map_err(|e| GatewayError::Unknown(format!("answer {status}: {e}")))?;
            Ok(Answer::Succeeded { amount: object.money(), reference: object.id })
        }
        StatusCode::PAYMENT_REQUIRED => {
            let decline_code = body.get("decline_code").and_then(Value::as_str).unwrap_or("declined");
            Ok(Answer::Declined { code: decline_code.to_owned() })
        }
        // Our key is wrong or blocked, or we call too often: nobody's payment is refused for that.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(unavailable(&format!("answered {status}"))),
        StatusCode::TOO_MANY_REQUESTS => Err(GatewayError::Unavailable {
            message: format!("answered {status}"),
            retry_after: Some(retry_after.unwrap_or(Duration::from_secs(1))),
        }),
        StatusCode::REQUEST_TIMEOUT => Err(GatewayError::Unknown(format!("answered {status}"))),
        StatusCode::CONFLICT => match (operation, code(&problem()).as_str()) {
            (_, "in_progress") => {
                Err(GatewayError::Unknown("the first request is still under way".to_owned()))
            }
            (Operation::Void, "authorization_voided") => {
                Ok(Answer::Succeeded { reference: "voided before".to_owned(), amount: None })
            }
            (Operation::Void, "already_captured") => Ok(rejected(ALREADY_CAPTURED.to_owned(), problem())),
            (_, other) => Ok(rejected(other.to_owned(), problem())),
        },
        status if status.is_client_error() => {
            let problem = problem();
            Ok(rejected(code(&problem), problem))
        }
        status => Err(GatewayError::Unknown(format!("answered {status}"))),
    }
}

fn rejected(code: String, problem: Option<Problem>) -> Answer {
    Answer::Rejected { code, message: problem.map(|problem| problem.detail).unwrap_or_default() }
}

fn unavailable(message: &str) -> GatewayError {
    GatewayError::Unavailable { message: message.to_owned(), retry_after: None }
}

fn not_sent_or_unknown(error: reqwest::Error) -> GatewayError {
    if error.is_connect() || error.is_builder() {
        unavailable(&describe(error))
    } else {
        GatewayError::Unknown(describe(error))
    }
}

/// Without the URL, which says nothing that the effect does not.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Most that a Retry-After is heeded: reservations do not wait longer either.
const LONGEST_WISH: Duration = Duration::from_mins(1);

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WISH))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(operation: Operation, status: u16, body: Value) -> Result<Answer, GatewayError> {
        read_answer(operation, StatusCode::from_u16(status).unwrap(), None, &body)
    }

    #[test]
    fn each_status_says_whether_it_was_done() {
        let held = json!({ "id": "auth_1", "amount": "12.30", "currency": "GBP", "status": "authorized" });
        let amount = Money::new("12.3".parse().unwrap(), Currency::GBP).ok();
        assert_eq!(
            read(Operation::Authorize, 201, held),
            Ok(Answer::Succeeded { reference: "auth_1".into(), amount })
        );
        let declined = json!({ "id": "auth_1", "decline_code": "insufficient_funds" });
        assert_eq!(
            read(Operation::Authorize, 402, declined),
            Ok(Answer::Declined { code: "insufficient_funds".into() })
        );
        for status in [500, 502, 503, 504, 408, 302] {
            assert!(matches!(read(Operation::Capture, status, json!({})), Err(GatewayError::Unknown(_))));
        }
        for status in [401, 403, 429] {
            let answer = read(Operation::Capture, status, json!({}));
            assert!(matches!(answer, Err(GatewayError::Unavailable { .. })), "{status}");
        }
        for status in [400, 404, 422] {
            assert!(matches!(read(Operation::Capture, status, json!({})), Ok(Answer::Rejected { .. })));
        }
        let garbled = read(Operation::Capture, 201, json!("what?"));
        assert!(matches!(garbled, Err(GatewayError::Unknown(_))));
    }

    #[test]
    fn a_conflict_is_told_apart_by_its_code() {
        let conflict = |operation, code: &str| read(operation, 409, json!({ "code": code, "detail": "so" }));
        assert!(matches!(conflict(Operation::Capture, "in_progress"), Err(GatewayError::Unknown(_))));
        assert!(matches!(conflict(Operation::Void, "authorization_voided"), Ok(Answer::Succeeded { .. })));
        for (operation, code) in
            [(Operation::Void, ALREADY_CAPTURED), (Operation::Capture, "authorization_voided")]
        {
            let rejected = Answer::Rejected { code: code.into(), message: "so".into() };
            assert_eq!(conflict(operation, code), Ok(rejected));
        }
    }

    #[test]
    fn an_answer_survives_the_ledger() {
        let amount = Money::new("12.3".parse().unwrap(), Currency::GBP).ok();
        for answer in [
            Answer::Succeeded { reference: "cap_1".into(), amount },
            Answer::Declined { code: "expired_card".into() },
            Answer::NeverArrived,
        ] {
            assert_eq!(Answer::from_ledger(&answer.to_ledger()).unwrap(), answer);
        }
    }
}
