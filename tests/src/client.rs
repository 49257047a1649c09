//! A caller of the API.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

/// A password that the policy takes.
pub const PASSWORD: &str = "a-rather-long-test-passphrase";

/// A caller, signed in or not.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    api_key: Option<String>,
}

/// A status and its body; null for none.
pub type Answer = (StatusCode, Value);

impl Client {
    /// Nobody in particular.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let http = waybill_platform::http::client(Duration::from_secs(60))?;
        Ok(Self { http, base: base.to_owned(), token: None, api_key: None })
    }

    /// The same caller with an API key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { api_key: Some(key.to_owned()), token: None, ..self.clone() }
    }

    /// The same caller with an access token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), api_key: None, ..self.clone() }
    }

    /// Signs in.
    pub async fn sign_in(&self, email: &str, password: &str) -> anyhow::Result<Self> {
        let body = json!({ "email": email, "password": password });
        let (status, answer) = self.post("/v1/auth/login", &body).await?;
        ensure!(status == StatusCode::OK, "log-in: {status} {answer}");
        Ok(self.with_token(answer["access_token"].as_str().context("no token")?))
    }

    /// Registers a customer; returns their caller and their id.
    pub async fn register(&self, email: &str) -> anyhow::Result<(Self, String)> {
        let body =
            json!({ "email": email, "password": PASSWORD, "first_name": "Ada", "last_name": "Lovelace" });
        let (status, answer) = self.post("/v1/auth/register", &body).await?;
        ensure!(status == StatusCode::CREATED, "registration: {status} {answer}");
        let id = answer["user"]["id"].as_str().context("no id")?.to_owned();
        Ok((self.with_token(answer["access_token"].as_str().context("no token")?), id))
    }

    /// A request with this caller's credentials.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(key) = &self.api_key {
            request = request.header("x-api-key", key);
        }
        request
    }

    /// GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        answer(self.request(Method::GET, path)).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        answer(self.request(Method::PUT, path).json(body)).await
    }

    /// GET that must go well.
    pub async fn read(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.get(path).await?;
        ensure!(status.is_success(), "{path}: {status} {body}");
        Ok(body)
    }
}

/// An answer with its headers.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, a text where it is no JSON; null for none.
    pub body: Value,
}

impl Reply {
    /// A header as text; empty for none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Sends a request and reads a JSON answer.
pub async fn answer(request: RequestBuilder) -> anyhow::Result<Answer> {
    let reply = reply(request).await?;
    Ok((reply.status, reply.body))
}

/// Sends a request and reads the whole answer.
pub async fn reply(request: RequestBuilder) -> anyhow::Result<Reply> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await?;
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
    };
    Ok(Reply { status, headers, body })
}
