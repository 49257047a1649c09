//! Somebody who is told by webhook.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac as _};
use poem::{
    EndpointExt as _, Request, Response, Server,
    http::StatusCode,
    listener::{Acceptor as _, Listener as _, TcpListener},
};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::{System, until};

/// As many answers as anybody can want.
pub const OPEN: usize = 1_000_000;

/// Something that was posted.
#[derive(Debug, Clone)]
pub struct Posted {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signatures: String,
    /// `traceparent`.
    pub traceparent: String,
    /// The body as it came.
    pub body: String,
}

impl Posted {
    /// The body.
    pub fn json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.body)?)
    }

    /// Checks the signature as Standard Webhooks tells a receiver to, with nothing of ours.
    pub fn verify(&self, secret: &str) -> anyhow::Result<()> {
        let sent: u64 = self.timestamp.parse().context("webhook-timestamp")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        ensure!(now.abs_diff(sent) < 300, "sent at {sent}, now it is {now}");
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").context("no whsec_")?)?;
        ensure!((24..=64).contains(&key.len()), "a key of {} bytes", key.len());
        let mut mac = Hmac::<Sha256>::new_from_slice(&key)?;
        mac.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        ensure!(self.signatures.split(' ').any(|one| one == expected), "not signed by us: {self:?}");
        Ok(())
    }
}

/// Answers by a script, then 200; may be made to hold its answers back.
pub struct Receiver {
    /// Where it listens.
    pub url: String,
    posted: Arc<Mutex<Vec<Posted>>>,
    gate: Arc<Semaphore>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// Starts one; `script` are the statuses of the first answers, `answers` how many are given before [`Self::open`].
    pub async fn start(script: &[u16], answers: usize) -> anyhow::Result<Self> {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
        let address = acceptor.local_addr().remove(0).as_socket_addr().context("no address")?.to_string();
        let posted = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Semaphore::new(answers));
        let script: Vec<StatusCode> =
            script.iter().map(|status| StatusCode::from_u16(*status)).collect::<Result<_, _>>()?;
        let (seen, gated) = (Arc::clone(&posted), Arc::clone(&gate));
        let answer = poem::endpoint::make(move |mut request: Request| {
            let (seen, gated, script) = (Arc::clone(&seen), Arc::clone(&gated), script.clone());
            async move {
                let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
                let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
                let signatures = header("webhook-signature");
                let traceparent = header("traceparent");
                let body = request.take_body().into_string().await?;
                let turn = {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push(Posted { id, timestamp, signatures, traceparent, body });
                    seen.len() - 1
                };
                if let Ok(permit) = gated.acquire().await {
                    permit.forget();
                }
                let status = script.get(turn).copied().unwrap_or(StatusCode::OK);
                Ok::<Response, poem::Error>(Response::builder().status(status).finish())
            }
        });
        let server = tokio::spawn(async move {
            let _ = Server::new_with_acceptor(acceptor).run(answer.map_to_response()).await;
        });
        Ok(Self { url: format!("http://{address}/hook"), posted, gate, server })
    }

    /// Holds no answer back any more.
    pub fn open(&self) {
        self.gate.add_permits(OPEN);
    }

    /// Everything that came, in its order.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ids of what came of a topic, each once.
    pub fn ids(&self, topic: &str) -> BTreeSet<String> {
        let is_of = |posted: &Posted| posted.json().is_ok_and(|body| body["type"] == topic);
        self.posted().into_iter().filter(is_of).map(|posted| posted.id).collect()
    }

    /// Waits until so many different events of a topic came.
    pub async fn until(&self, topic: &str, count: usize) -> anyhow::Result<()> {
        until(&format!("{count} of {topic}"), async || {
            let ids = self.ids(topic);
            Ok(if ids.len() >= count { Ok(()) } else { Err(format!("{} came", ids.len())) })
        })
        .await
    }
}

impl System {
    /// Registers a receiver; returns the endpoint, with its secret.
    pub async fn tell(&self, url: &str, topics: &[&str]) -> anyhow::Result<Value> {
        let body = json!({ "url": url, "event_types": topics });
        let (status, endpoint) = self.admin.post("/v1/admin/webhook-endpoints", &body).await?;
        ensure!(status == reqwest::StatusCode::CREATED, "{status} {endpoint}");
        Ok(endpoint)
    }
}
