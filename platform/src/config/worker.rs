use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{reader::Reader, values::is_name};

/// A process that runs jobs and event pipelines.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Address of health and metrics; port 0 takes a free one and announces it.
    pub ops_listen: SocketAddr,
    /// Queues that this process serves, each with the number of jobs it runs at a time; one with 0 is left to others.
    /// `default` is the number of those that are not named.
    pub queues: BTreeMap<String, u16>,
    /// Event pipelines that this process serves.
    pub pipelines: Vec<String>,
    /// How often the process says that it lives and extends its leases.
    pub heartbeat: Duration,
    /// How long a job stays with a process that no longer says so.
    pub lease: Duration,
    /// How long a process may be without its heartbeat connection before others take its jobs.
    pub grace: Duration,
    /// How long running jobs may go on after a stop was asked for.
    pub shutdown_deadline: Duration,
    /// Whether to end when a handler neither ended at its timeout nor yields.
    pub end_when_overdue: bool,
    /// Most jobs claimed in one statement.
    pub claim_batch: u16,
    /// Imports of which so many bytes are left are cut into parts.
    pub cut_imports_from: u64,
}

impl WorkerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("worker");
        let config = Self {
            ops_listen: section.address("ops_listen"),
            queues: section.table("queues", 0..=1000),
            pipelines: section.texts(
                "pipelines",
                "a list of pipelines such as [\"notifications\"], or []",
                is_name,
            ),
            heartbeat: section.duration("heartbeat", "100ms"..="1m"),
            lease: section.duration("lease", "1s"..="1h"),
            grace: section.duration("grace", "100ms"..="1m"),
            shutdown_deadline: section.duration("shutdown_deadline", "0s"..="1h"),
            end_when_overdue: section.boolean("end_when_overdue"),
            claim_batch: section.number("claim_batch", 1..=5_000),
            cut_imports_from: section.number("cut_imports_from", 1..=1_099_511_627_776),
        };
        if reader.usable(&["worker.heartbeat", "worker.lease"]) && config.heartbeat * 2 >= config.lease {
            let message = "must be shorter than half of worker.lease, so that one lost heartbeat does not lose the jobs";
            reader.problem("worker.heartbeat", message);
        }
        if reader.usable(&["worker.grace", "worker.lease"]) && config.grace >= config.lease {
            reader
                .problem("worker.grace", "must be shorter than worker.lease, which takes over where it ends");
        }
        if reader.usable(&["worker.queues", "worker.pipelines"])
            && config.queues.values().all(|concurrency| *concurrency == 0)
            && config.pipelines.is_empty()
        {
            reader.warnings.push(
                "worker.queues and worker.pipelines name nothing to serve: a worker would do nothing"
                    .to_owned(),
            );
        }
        config
    }

    /// The most jobs that this process runs at a time, over all queues.
    pub fn concurrency(&self) -> u32 {
        self.queues.values().map(|concurrency| u32::from(*concurrency)).sum()
    }
}
