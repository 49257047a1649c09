use std::{collections::BTreeSet, time::Duration};

use super::WorkerError;
use crate::heartbeat::Timing;

/// Settings of a worker.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// What the process calls itself in the list of workers.
    pub service: String,
    /// Version of the binary.
    pub version: String,
    /// Queues to serve, each with the number of jobs to run at a time.
    pub queues: Vec<(String, usize)>,
    /// Queues that something else in this process serves under the worker's id: named in the list of workers.
    pub other_queues: Vec<String>,
    /// Most jobs claimed in one statement.
    pub claim_batch: usize,
    /// How often the lease is extended.
    pub heartbeat: Duration,
    /// How long jobs stay with a process that no longer says that it lives.
    pub lease: Duration,
    /// How long a process may be without its heartbeat connection: then it asks its handlers to stop, and others take its
    /// jobs over.
    pub grace: Duration,
    /// How often to look for dead workers.
    pub reap_every: Duration,
    /// How long running jobs may go on after a stop was asked for.
    pub shutdown_deadline: Duration,
    /// How long a handler has to end by itself once its token is cancelled; then it is dropped.
    pub cancel_grace: Duration,
    /// Whether to end the process when a handler has neither ended at its timeout nor yields. Others then take its jobs over,
    /// and the attempt is spent.
    pub end_when_overdue: bool,
    /// Whether to hold a session lock while alive. Not behind a transaction pooler: only the lease counts then.
    pub lock: bool,
    /// Whether to listen for hints. Not behind a transaction pooler: jobs are found by polling then.
    pub listen: bool,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            service: "worker".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queues: Vec::new(),
            other_queues: Vec::new(),
            claim_batch: 200,
            heartbeat: Duration::from_secs(1),
            lease: Duration::from_secs(15),
            grace: Duration::from_secs(1),
            reap_every: Duration::from_millis(250),
            shutdown_deadline: Duration::from_secs(20),
            cancel_grace: Duration::from_secs(2),
            end_when_overdue: false,
            lock: true,
            listen: true,
        }
    }
}

impl WorkerConfig {
    pub(super) fn check(&self) -> Result<(), WorkerError> {
        let mut seen = BTreeSet::new();
        for (queue, _) in &self.queues {
            if !seen.insert(queue) {
                return Err(WorkerError::QueueTwice(queue.clone()));
            }
        }
        if self.heartbeat * 2 >= self.lease {
            return Err(WorkerError::LeaseTooShort { lease: self.lease, heartbeat: self.heartbeat });
        }
        Ok(())
    }

    pub(super) fn timing(&self) -> Timing {
        Timing {
            heartbeat: self.heartbeat,
            lease: self.lease,
            grace: self.grace,
            lock: self.lock,
            listen: self.listen,
        }
    }

    pub(super) fn queue_names(&self) -> Vec<String> {
        self.queues.iter().map(|(queue, _)| queue.clone()).collect()
    }
}
