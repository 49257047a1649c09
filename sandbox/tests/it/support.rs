//! A client that keeps the raw answers, and a receiver of webhooks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use poem::listener::TcpAcceptor;
use poem::web::Data;
use poem::{Body, EndpointExt, Request, Route, handler, post};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_sandbox::{Config, Handle, serve};

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.json()["status"], self.status.as_u16());
        self.json()["code"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn replayed(&self) -> bool {
        self.header("idempotent-replayed") == "true"
    }
}

pub struct Gateway {
    pub handle: Handle,
    pub url: String,
    pub client: reqwest::Client,
}

pub async fn start() -> Gateway {
    start_with(Config::default()).await
}

pub async fn start_with(config: Config) -> Gateway {
    let handle = serve(config).await.unwrap();
    // Plain HTTP only: a machine without certificates runs the tests too.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    Gateway { url: handle.url(), handle, client }
}

impl Gateway {
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth("sk_sandbox")
    }

    /// The answer, or why there was none.
    pub async fn send(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        Ok(Answer {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }

    pub async fn try_post(&self, path: &str, key: &str, body: Value) -> Result<Answer, reqwest::Error> {
        Self::send(self.request(Method::POST, path).header("idempotency-key", key).json(&body)).await
    }

    pub async fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        self.try_post(path, key, body).await.unwrap()
    }

    /// Sends a request that is not answered, and goes once `GET /v1/operations` answers `status` for its key.
    pub async fn give_up(&self, path: &str, key: &str, body: Value, status: u16) -> Answer {
        let request = self.request(Method::POST, path).header("idempotency-key", key).json(&body);
        let hanging = tokio::spawn(request.send());
        let asked = eventually("the request is under way", async || {
            let asked = self.get(&format!("/v1/operations/{key}")).await;
            (asked.status == status).then_some(asked)
        })
        .await;
        assert!(!hanging.is_finished(), "it was answered");
        hanging.abort();
        assert!(hanging.await.unwrap_err().is_cancelled());
        asked
    }

    /// Waits until nothing is known of `key`.
    pub async fn wait_until_free(&self, key: &str) {
        eventually("the key is free", async || {
            (self.get(&format!("/v1/operations/{key}")).await.status == 404).then_some(())
        })
        .await;
    }

    pub async fn get(&self, path: &str) -> Answer {
        Self::send(self.request(Method::GET, path)).await.unwrap()
    }

    pub async fn authorize(&self, key: &str, amount: &str, reference: &str) -> Answer {
        self.post("/v1/authorizations", key, authorization(amount, "tok_visa", reference)).await
    }

    pub async fn capture(&self, key: &str, authorization: &str, amount: &str) -> Answer {
        self.post(&captures(authorization), key, gbp(amount)).await
    }

    pub async fn fault(&self, fault: Value) -> Answer {
        let answer = Self::send(self.request(Method::POST, "/control/faults").json(&fault)).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer
    }

    pub async fn summary(&self) -> Value {
        self.get("/v1/ledger/summary").await.json()
    }

    pub async fn webhooks(&self) -> Value {
        self.get("/control/webhooks").await.json()
    }
}

pub fn gbp(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "GBP" })
}

pub fn authorization(amount: &str, token: &str, reference: &str) -> Value {
    json!({ "amount": amount, "currency": "GBP", "token": token, "reference": reference })
}

pub fn captures(authorization: &str) -> String {
    format!("/v1/authorizations/{authorization}/captures")
}

pub fn voids(authorization: &str) -> String {
    format!("/v1/authorizations/{authorization}/voids")
}

pub fn refunds(capture: &str) -> String {
    format!("/v1/captures/{capture}/refunds")
}

/// Asks until `check` holds, for at most ten seconds.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(std::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A webhook as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: String,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }
}

#[derive(Default)]
struct Inbox {
    received: Vec<Received>,
    /// Requests still to be answered 503.
    refuse: usize,
}

/// A server that keeps the webhooks it gets.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    inbox: Arc<Mutex<Inbox>>,
}

#[handler]
async fn receive(inbox: Data<&Arc<Mutex<Inbox>>>, request: &Request, body: Body) -> poem::http::StatusCode {
    let header = |name| request.header(name).unwrap_or_default().to_owned();
    let received = Received {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: body.into_string().await.unwrap(),
    };
    let mut inbox = inbox.lock().unwrap();
    if inbox.refuse > 0 {
        inbox.refuse -= 1;
        return poem::http::StatusCode::SERVICE_UNAVAILABLE;
    }
    inbox.received.push(received);
    poem::http::StatusCode::NO_CONTENT
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let routes = Route::new().at("/hooks", post(receive)).data(Arc::clone(&inbox));
        let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
        tokio::spawn(poem::Server::new_with_acceptor(acceptor).run(routes));
        Self { url, inbox }
    }

    pub fn config(&self) -> Config {
        Config {
            webhook_url: Some(self.url.clone()),
            webhook_secret: Some(SECRET.to_owned()),
            ..Config::default()
        }
    }

    pub fn refuse(&self, requests: usize) {
        self.inbox.lock().unwrap().refuse = requests;
    }

    pub fn received(&self) -> Vec<Received> {
        self.inbox.lock().unwrap().received.clone()
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} webhooks"), async || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
        .await
    }
}
