//! A receiver of webhooks, as a customer of the API would run one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener as _, TcpListener};
use poem::web::Data;
use poem::{EndpointExt, Request, Route, Server, handler, post};
use serde::Deserialize;
use uuid::Uuid;

use super::signature::Secret;

/// What has arrived so far.
#[derive(Debug, Default, Clone)]
pub struct Inbox {
    /// Webhook id to the order it tells of and its type.
    pub events: HashMap<String, (Uuid, String)>,
    /// Deliveries, repeated ones included.
    pub deliveries: u64,
    /// Deliveries of an id that had arrived before.
    pub repeated: u64,
    /// Deliveries whose signature did not fit, or that could not be read.
    pub refused: u64,
}

#[derive(Debug, Default)]
struct State {
    inbox: Mutex<Inbox>,
    /// Known only after the address is registered.
    secret: Mutex<Option<Secret>>,
}

/// A server on a free loopback port; it ends with the runtime.
#[derive(Debug, Clone)]
pub struct Listener {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    topic: String,
    data: EventData,
}

#[derive(Debug, Deserialize)]
struct EventData {
    order_id: Uuid,
}

impl Listener {
    pub async fn start() -> Result<Self> {
        let state = Arc::new(State::default());
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
        let address = acceptor
            .local_addr()
            .iter()
            .find_map(|address| address.as_socket_addr().copied())
            .context("the listener has no address")?;
        let route = Route::new().at("/webhooks", post(receive)).data(Arc::clone(&state));
        tokio::spawn(Server::new_with_acceptor(acceptor).run(route));
        Ok(Self { address, state })
    }

    pub fn url(&self) -> String {
        format!("http://{}/webhooks", self.address)
    }

    pub fn trust(&self, secret: Secret) {
        *self.state.secret.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
    }

    pub fn inbox(&self) -> Inbox {
        self.state.inbox.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[handler]
fn receive(state: Data<&Arc<State>>, request: &Request, body: Vec<u8>) -> StatusCode {
    let header = |name: &str| request.header(name).unwrap_or_default();
    let id = header("webhook-id");
    let secret = state.secret.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let verified = secret.is_some_and(|secret| {
        let now = chrono::Utc::now().timestamp();
        secret.verify(id, header("webhook-timestamp"), header("webhook-signature"), &body, now).is_ok()
    });
    let event = serde_json::from_slice::<Event>(&body).ok().filter(|event| event.id == id);
    let mut inbox = state.inbox.lock().unwrap_or_else(PoisonError::into_inner);
    let (true, Some(event)) = (verified, event) else {
        inbox.refused += 1;
        return StatusCode::UNAUTHORIZED;
    };
    inbox.deliveries += 1;
    let before = inbox.events.insert(id.to_owned(), (event.data.order_id, event.topic));
    inbox.repeated += u64::from(before.is_some());
    StatusCode::NO_CONTENT
}
