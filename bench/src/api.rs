//! The API as a shopper and as the administrator who prepares the shop.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::{Value, json};

/// One signed-in caller.
#[derive(Clone)]
pub struct Caller {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// A password that the policy takes.
const PASSWORD: &str = "a-long-enough-bench-passphrase";

impl Caller {
    /// Signs in.
    pub async fn sign_in(base: &str, email: &str, password: &str) -> anyhow::Result<Self> {
        Self::enter(base, "/v1/auth/login", &json!({ "email": email, "password": password })).await
    }

    /// Registers a new customer.
    pub async fn register(base: &str, email: &str) -> anyhow::Result<Self> {
        let body =
            json!({ "email": email, "password": PASSWORD, "first_name": "Bench", "last_name": "Shopper" });
        Self::enter(base, "/v1/auth/register", &body).await
    }

    async fn enter(base: &str, path: &str, body: &Value) -> anyhow::Result<Self> {
        let http = waybill_platform::http::client(Duration::from_secs(60))?;
        let mut caller = Self { http, base: base.to_owned(), token: String::new() };
        let answer = caller.send(Method::POST, path, Some(body)).await?;
        answer["access_token"].as_str().context("no access token")?.clone_into(&mut caller.token);
        Ok(caller)
    }

    /// Sends a request and reads the JSON of a good answer.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let bytes = response.bytes().await?;
        if !status.is_success() {
            bail!("{path}: {status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? })
    }

    /// Follows an order's stream until it is settled; returns its status.
    pub async fn settled(&self, id: &str, version: i64) -> anyhow::Result<String> {
        let response = self
            .http
            .get(format!("{}/v1/orders/{id}/events", self.base))
            .bearer_auth(&self.token)
            .header("Last-Event-ID", version)
            .send()
            .await?;
        // It ends with the event that settles the order.
        let events = response.error_for_status()?.text().await?;
        let last = events.lines().rev().find_map(|line| line.strip_prefix("data: "));
        let order: Value = serde_json::from_str(last.context("the stream ended without an event")?)?;
        Ok(order["status"].as_str().context("no status")?.to_owned())
    }
}
