//! A connection to the broker that comes back.
//!
//! A process has two: one that publishes and one that consumes. A broker that is short of memory or disk stops reading from
//! connections that publish, and acknowledgements on the same connection would stop with them.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use lapin::{Connection, ConnectionProperties, uri::AMQPUri};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::topology::Topology;

/// Longest time for TCP, TLS and the handshake together.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest time for all declarations together.
const DECLARE_LIMIT: Duration = Duration::from_secs(10);
/// Seconds; a peer is dead after two of them without a sign of life. The broker's default of 60 is too long to wait.
const HEARTBEAT: u16 = 10;
/// Pause before connecting again; doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often a connection is asked whether it still is one, beside the events that say so.
const CHECK: Duration = Duration::from_millis(250);

/// What is known of the connection.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Open, with everything declared.
    pub connection: Option<Arc<Connection>>,
    /// Since when there is one, or none.
    pub since: Instant,
    /// Why there is none.
    pub reason: String,
}

/// A supervised connection.
#[derive(Clone)]
pub(crate) struct Link {
    state: watch::Receiver<State>,
    again: Arc<Notify>,
}

impl Link {
    /// A link, and the task that keeps it up until `stop`.
    pub(crate) fn new(
        name: String,
        url: SecretString,
        topology: Arc<Topology>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let first = State { connection: None, since: Instant::now(), reason: "not connected yet".to_owned() };
        let (state, receiver) = watch::channel(first);
        let again = Arc::new(Notify::new());
        let supervisor =
            Supervisor { name, url, topology, stop, state, again: Arc::clone(&again), refused: false };
        (Self { state: receiver, again }, supervisor.run())
    }

    /// What is known now.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Drops the connection and makes a new one, with everything declared anew.
    pub(crate) fn reconnect(&self) {
        self.again.notify_one();
    }

    /// The connection, once there is one.
    pub(crate) async fn connection(&self) -> Option<Arc<Connection>> {
        let mut state = self.state.clone();
        let up = state.wait_for(|state| state.connection.is_some()).await.ok()?;
        up.connection.clone()
    }
}

struct Supervisor {
    name: String,
    url: SecretString,
    topology: Arc<Topology>,
    stop: CancellationToken,
    state: watch::Sender<State>,
    again: Arc<Notify>,
    /// So that an outage is one line in the log, not one for each attempt.
    refused: bool,
}

impl Supervisor {
    async fn run(mut self) {
        let mut pause = BACKOFF.0;
        while !self.stop.is_cancelled() {
            match self.open().await {
                Ok(connection) => {
                    pause = BACKOFF.0;
                    self.refused = false;
                    tracing::info!(connection = self.name, "connected to the broker");
                    self.set(Some(Arc::clone(&connection)), String::new());
                    let reason = self.watch(&connection).await;
                    self.set(None, reason.clone());
                    if !self.stop.is_cancelled() {
                        tracing::warn!(connection = self.name, reason, "lost the broker");
                    }
                    // Dropped connections linger until their heartbeat fails; an orderly one frees its messages at once.
                    let _ = tokio::time::timeout(CONNECT_LIMIT, connection.close(200, "done".into())).await;
                }
                Err(reason) => {
                    if !self.refused {
                        tracing::warn!(
                            connection = self.name,
                            reason,
                            "no connection to the broker, trying on"
                        );
                        self.refused = true;
                    }
                    self.state.send_modify(|state| state.reason = reason);
                }
            }
            let jittered = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(jittered) => {}
            }
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn open(&self) -> Result<Arc<Connection>, String> {
        // The parser's error may repeat parts of the URL.
        let mut uri: AMQPUri =
            self.url.expose_secret().parse().map_err(|_| "the broker's URL cannot be read".to_owned())?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("waybill {}", self.name).as_str().into());
        let connection = tokio::time::timeout(CONNECT_LIMIT, Connection::connect_uri(uri, properties))
            .await
            .map_err(|_| format!("no answer within {CONNECT_LIMIT:?}"))?
            .map_err(|error| error.to_string())?;
        tokio::time::timeout(DECLARE_LIMIT, self.topology.declare(&connection))
            .await
            .map_err(|_| format!("declarations took longer than {DECLARE_LIMIT:?}"))?
            .map_err(|error| format!("declaration refused: {error}"))?;
        Ok(Arc::new(connection))
    }

    /// Waits until the connection is lost, or given up; says why.
    async fn watch(&self, connection: &Connection) -> String {
        let mut events = std::pin::pin!(connection.events_listener());
        let mut check = tokio::time::interval(CHECK);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return "stopped".to_owned(),
                () = self.again.notified() => return "given up to connect anew".to_owned(),
                event = events.next() => match event {
                    Some(lapin::Event::Error(error)) => {
                        if !connection.status().connected() {
                            return error.to_string();
                        }
                    }
                    Some(lapin::Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(connection = self.name, reason, "the broker blocks publishers");
                    }
                    Some(lapin::Event::ConnectionUnblocked) => {
                        tracing::info!(connection = self.name, "the broker takes messages again");
                    }
                    Some(_) => {}
                    None => return "closed".to_owned(),
                },
                _ = check.tick() => {
                    if !connection.status().connected() {
                        return "closed".to_owned();
                    }
                }
            }
        }
    }

    fn set(&self, connection: Option<Arc<Connection>>, reason: String) {
        self.state.send_replace(State { connection, since: Instant::now(), reason });
    }
}
