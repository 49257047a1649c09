//! A process that runs jobs: apalis workers and their monitor over the Postgres lane, the heartbeat, the reaper, and an
//! orderly end.
//!
//! ```no_run
//! # async fn start(pool: waybill_schema::Pool, registry: waybill_jobs::Registry) -> Result<(), waybill_jobs::runtime::WorkerError> {
//! use tokio_util::sync::CancellationToken;
//! use waybill_jobs::runtime::{Worker, WorkerConfig};
//!
//! let config = WorkerConfig { queues: vec![("mail".to_owned(), 32)], ..WorkerConfig::default() };
//! let shutdown = CancellationToken::new();
//! Worker::new("postgres://127.0.0.1/waybill", pool, registry, config).run(shutdown).await
//! # }
//! ```

mod audit;
mod config;
#[cfg(feature = "testing")]
mod inline;
mod life;
mod service;
mod verdict;
mod watchdog;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_schema::Pool;

pub use config::WorkerConfig;
#[cfg(feature = "testing")]
pub(crate) use inline::attempt;
pub use verdict::after_failure;

use crate::{postgres::Notifier, registry::Registry};

/// Why a worker did not start. Once it runs, nothing ends it but its shutdown.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A queue is served twice.
    #[error("queue {0} is configured twice")]
    QueueTwice(String),
    /// The lease is too short for the heartbeat.
    #[error("the lease ({lease:?}) must be longer than twice the heartbeat ({heartbeat:?})")]
    LeaseTooShort {
        /// As configured.
        lease: std::time::Duration,
        /// As configured.
        heartbeat: std::time::Duration,
    },
}

/// Runs the jobs of some queues.
pub struct Worker {
    database_url: Arc<str>,
    pool: Pool,
    registry: Arc<Registry>,
    config: WorkerConfig,
    notifier: Notifier,
    identity: watch::Sender<Option<Uuid>>,
    quiet: watch::Sender<Option<String>>,
}

impl Worker {
    /// Prepares a worker; nothing runs before [`run`](Self::run). Must be called inside a tokio runtime.
    ///
    /// `pool` is for the handlers. The worker's own four connections (heartbeat, claims, completions, reaper) are opened from
    /// `database_url`, so that handlers which have the whole pool in use cannot keep it from living.
    pub fn new(
        database_url: impl Into<Arc<str>>,
        pool: Pool,
        registry: Registry,
        config: WorkerConfig,
    ) -> Self {
        let notifier = Notifier::start(pool.clone());
        Self {
            database_url: database_url.into(),
            pool,
            registry: Arc::new(registry),
            config,
            notifier,
            identity: watch::Sender::new(None),
            quiet: watch::Sender::default(),
        }
    }

    /// The process's hints: what enqueues outside of handlers calls it after the commit.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// The id under which this process holds jobs; `None` before it has one, and when it must claim nothing any more. It
    /// changes when others have taken the worker for dead.
    pub fn identity(&self) -> watch::Receiver<Option<Uuid>> {
        self.identity.subscribe()
    }

    /// Who wants this process to claim nothing more, if anybody does: for what else takes work in its name.
    pub fn quiet(&self) -> watch::Receiver<Option<String>> {
        self.quiet.subscribe()
    }

    /// Runs jobs until `shutdown`; then stops claiming, lets running jobs finish until the deadline, hands the rest back
    /// and takes leave. A database that is away only makes it wait.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        self.config.check()?;
        while !shutdown.is_cancelled() {
            life::live(&self, &shutdown).await;
        }
        Ok(())
    }
}
