//! The API as the CLI needs it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// A client of one API.
pub struct Client {
    http: reqwest::Client,
    base: String,
    api_key: Option<String>,
}

impl Client {
    /// For the API at `base`.
    pub fn new(base: &str, api_key: Option<String>) -> anyhow::Result<Self> {
        let http = waybill_platform::http::client(Duration::from_secs(60)).context("no HTTP client")?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), api_key })
    }

    /// GET, with query parameters.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    /// POST without a body.
    pub async fn post(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.request(Method::POST, path)).await
    }

    /// POST with a body.
    pub async fn post_json(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// PUT with a body.
    pub async fn put_json(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.request(Method::DELETE, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.api_key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let response = request.send().await.with_context(|| format!("no answer from {}", self.base))?;
        let status = response.status();
        let text = response.text().await.context("the answer broke off")?;
        if text.is_empty() && status.is_success() {
            return Ok(Value::Null);
        }
        let body: Value = serde_json::from_str(&text)
            .with_context(|| format!("{status}: the answer is no JSON; is {} a Waybill API?", self.base))?;
        if !status.is_success() {
            let title = body["title"].as_str().unwrap_or("refused");
            let detail = body["detail"].as_str().unwrap_or_default();
            let mut faults = String::new();
            for fault in body["errors"].as_array().into_iter().flatten() {
                let part = |name: &str| fault[name].as_str().unwrap_or_default().to_owned();
                faults.extend(["\n  ", &part("field"), ": ", &part("message")]);
            }
            bail!("{status}: {title}: {detail}{faults}");
        }
        Ok(body)
    }
}
