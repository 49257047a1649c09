//! Starting and stopping a gateway.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poem::Server;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{Config, ConfigError};
use crate::connections::{Connections, CuttableAcceptor};
use crate::gateway::Gateway;
use crate::http::{App, routes};
use crate::journal::JournalError;
use crate::webhooks::{Dispatcher, run_lane};

/// How long requests may take to end once the server is to stop.
const REQUEST_GRACE: Duration = Duration::from_secs(5);

/// How long the webhooks that are left may take after that.
const WEBHOOK_GRACE: Duration = Duration::from_secs(3);

/// Why a gateway cannot start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The server ended with an error.
    #[error("the server failed: {0}")]
    Server(#[from] io::Error),
    /// The server's task ended badly.
    #[error("the server ended: {0}")]
    Task(#[from] JoinError),
}

/// A running gateway. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    stop: DropGuard,
    task: JoinHandle<io::Result<()>>,
}

impl Handle {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it: requests under way are answered, hanging ones are let go, queued webhooks are tried once more, the
    /// journal is written.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.stop.disarm().cancel();
        Ok(self.task.await??)
    }
}

/// Starts a gateway on the address in `config`.
pub async fn serve(config: Config) -> Result<Handle, ServeError> {
    let address = config.listen;
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    serve_on(listener, config).await
}

/// Starts a gateway on a listener that is open already; `config.listen` is not looked at.
pub async fn serve_on(listener: TcpListener, config: Config) -> Result<Handle, ServeError> {
    // Fails if the process has chosen a provider before, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let target = config.check()?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "control endpoints need no key and are reachable from other machines");
    }
    let (dispatcher, receivers) = Dispatcher::new(config.settings(), target);
    let gateway = tokio::task::spawn_blocking(move || {
        Gateway::open(config.journal.as_deref(), config.journal_fsync, config.fault_seed, dispatcher)
    })
    .await??;
    let gateway = Arc::new(gateway);

    let stopping = CancellationToken::new();
    let closing = CancellationToken::new();
    let mut lanes = JoinSet::new();
    for receiver in receivers {
        lanes.spawn(run_lane(Arc::clone(&gateway), receiver, closing.clone()));
    }
    let connections = Connections::default();
    let acceptor = CuttableAcceptor::new(listener, connections.clone())?;
    let app = App { gateway, connections, api_key: config.api_key, stopping: stopping.clone() };
    let server = Server::new_with_acceptor(acceptor).name("sandbox").run_with_graceful_shutdown(
        routes(Arc::new(app)),
        stopping.clone().cancelled_owned(),
        Some(REQUEST_GRACE),
    );
    let task = tokio::spawn(async move {
        let result = server.await;
        closing.cancel();
        let drained = async { while lanes.join_next().await.is_some() {} };
        if tokio::time::timeout(WEBHOOK_GRACE, drained).await.is_err() {
            tracing::warn!("webhooks were left unsent");
        }
        result
    });
    Ok(Handle { address, stop: stopping.drop_guard(), task })
}
