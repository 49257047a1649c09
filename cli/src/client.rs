//! The API as the CLI needs it.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

/// How long a stream of events may last: a day is longer than any job.
const STREAM: Duration = Duration::from_hours(24);

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

    /// A stream of server-sent events, from behind the one with the id `after`; `None` where nothing is to come.
    pub async fn events(&self, path: &str, after: Option<&str>) -> anyhow::Result<Option<Events>> {
        // A stream lasts as long as its job.
        let mut request = self.request(Method::GET, path).timeout(STREAM);
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.with_context(|| format!("no answer from {}", self.base))?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(None),
            status if status.is_success() => Ok(Some(Events { response, rest: Vec::new() })),
            _ => {
                self.read(response).await?;
                Ok(None)
            }
        }
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let response = request.send().await.with_context(|| format!("no answer from {}", self.base))?;
        self.read(response).await
    }

    async fn read(&self, response: Response) -> anyhow::Result<Value> {
        let status = response.status();
        let text = response.text().await.context("the answer broke off")?;
        if text.is_empty() && status.is_success() {
            return Ok(Value::Null);
        }
        let body: Value = serde_json::from_str(&text)
            .with_context(|| format!("{status}: the answer is no JSON; is {} a Waybill API?", self.base))?;
        if status.is_success() { Ok(body) } else { Err(Refused { status, problem: body }.into()) }
    }
}

/// What the API answers where it does not do as it is asked.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    /// RFC 9457.
    pub problem: Value,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let title = self.problem["title"].as_str().unwrap_or("refused");
        let detail = self.problem["detail"].as_str().unwrap_or_default();
        write!(f, "{}: {title}: {detail}", self.status)?;
        for fault in self.problem["errors"].as_array().into_iter().flatten() {
            let part = |name: &str| fault[name].as_str().unwrap_or_default();
            write!(f, "\n  {}: {}", part("field"), part("message"))?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// An open stream of events.
pub struct Events {
    response: Response,
    rest: Vec<u8>,
}

impl Events {
    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.rest.drain(..end + 2).collect();
                if let Some(event) = event(&String::from_utf8_lossy(&block)) {
                    return Ok(Some(event));
                }
            }
            match self.response.chunk().await.context("the stream broke off")? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Reads a block of lines; comments and settings are no events.
fn event(block: &str) -> Option<Event> {
    let mut event = Event::default();
    for line in block.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match name {
            "id" => event.id = value,
            "event" => event.name = value,
            "data" => event.data = value,
            _ => {}
        }
    }
    (!event.name.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_comments_are_none() {
        let read = event("id: 7\nevent: log\ndata: {\"line\":\"a: b\"}\n\n");
        let expected =
            Event { id: "7".to_owned(), name: "log".to_owned(), data: "{\"line\":\"a: b\"}".to_owned() };
        assert_eq!(read, Some(expected));
        assert_eq!(event(":\n\n"), None);
        assert_eq!(event("retry: 1000\n\n"), None);
    }
}
