//! A client of the API, as any shop would write one.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::header::{ETAG, HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// More than the API's own limit for a request and for a long poll.
const PATIENCE: Duration = Duration::from_secs(45);
/// A busy or restarting server is asked again this often, then it is an error.
const TRIES: u32 = 20;

/// Who asks.
#[derive(Debug, Clone)]
pub enum Caller {
    Nobody,
    /// An access token.
    User(String),
    /// An API key.
    Key(String),
}

#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    caller: Caller,
    /// Further headers of every request: the tokens of guests.
    headers: Vec<(&'static str, String)>,
}

/// An answer that was not an error.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    headers: HeaderMap,
    pub body: Vec<u8>,
}

/// What the API says when it refuses.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {status} {code}: {detail}")]
pub struct Refused {
    path: String,
    pub status: u16,
    pub code: String,
    detail: String,
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("an answer of another shape: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn etag(&self) -> Option<String> {
        self.header(ETAG.as_str()).map(str::to_owned)
    }
}

impl Client {
    pub fn new(base: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).pool_max_idle_per_host(128).build()?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { http, base, caller: Caller::Nobody, headers: Vec::new() })
    }

    /// The same client in another's name.
    pub fn as_caller(&self, caller: Caller) -> Self {
        Self { caller, ..self.clone() }
    }

    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name, value.to_owned()));
        client
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = match &self.caller {
            Caller::Nobody => request,
            Caller::User(token) => request.bearer_auth(token),
            Caller::Key(key) => request.header("X-Api-Key", key),
        };
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(self.request(Method::GET, path)).await?.json()
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        self.send(self.request(Method::POST, path).json(body)).await?.json()
    }

    pub async fn delete(&self, path: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, path)).await.map(drop)
    }

    /// Every item of a list, page by page.
    pub async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut request = self.request(Method::GET, path).query(&[("limit", "100")]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let page: Page<T> = self.send(request).await?.json()?;
            items.extend(page.data);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// Sends it; asks again while the server says "later" or cannot be reached. Only for requests
    /// that may be repeated: reads, and writes with an idempotency key or a natural one.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let mut tries = 0;
        loop {
            tries += 1;
            let Some(attempt) = request.try_clone() else {
                // A streamed body can be sent once.
                return answer(request.send().await?).await;
            };
            match attempt.send().await {
                Ok(response) if tries < TRIES && is_later(response.status()) => {
                    tokio::time::sleep(pause(response.headers(), tries)).await;
                }
                Ok(response) => return answer(response).await,
                Err(error) if tries < TRIES && error.is_connect() => {
                    tokio::time::sleep(pause(&HeaderMap::new(), tries)).await;
                }
                Err(error) => return Err(error).context("asking the API"),
            }
        }
    }
}

#[derive(Debug, serde::Deserialize)]
struct Page<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

fn is_later(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// What the server asks for, else a little longer each time.
fn pause(headers: &HeaderMap, tries: u32) -> Duration {
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    asked.map_or(Duration::from_millis(50) * tries, Duration::from_secs)
}

async fn answer(response: reqwest::Response) -> Result<Answer> {
    let (status, headers, url) = (response.status(), response.headers().clone(), response.url().clone());
    let body = response.bytes().await.context("reading an answer")?.to_vec();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(Answer { status, headers, body });
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let errors = problem.get("errors").map(Value::to_string).unwrap_or_default();
    bail!(Refused {
        path: url.path().to_owned(),
        status: status.as_u16(),
        code: text("code"),
        detail: format!("{} {errors}", text("detail")),
    })
}

/// The refusal in an error, if it is one.
pub fn refusal(error: &anyhow::Error) -> Option<&Refused> {
    error.downcast_ref()
}
