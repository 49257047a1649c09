//! What is changed while everything runs: queues, kinds, dependencies, and the search index.

use clap::Subcommand;

/// What to do with a queue.
#[derive(Debug, Subcommand)]
pub enum Queues {
    /// Lists them.
    List,
    /// Pauses one: nothing more of it is claimed; what runs goes on, and jobs are still accepted.
    Pause {
        /// The queue.
        queue: String,
        /// Why, for the others.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Ends a pause: its jobs are claimed again.
    Resume {
        /// The queue.
        queue: String,
    },
    /// Pauses, and waits until nothing of it runs.
    Drain {
        /// The queue.
        queue: String,
        /// Why, for the others.
        #[arg(long)]
        reason: Option<String>,
        /// Seconds to wait; then the exit code is 1, and the queue stays paused.
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        timeout: u64,
    },
    /// Limits it over all workers. All limits at once: what is not named is no longer limited.
    Limit {
        /// The queue.
        queue: String,
        /// Jobs that run at a time; 0 lets none run.
        #[arg(long, value_name = "JOBS")]
        running: Option<u32>,
        /// Jobs of one limit key that run at a time.
        #[arg(long, value_name = "JOBS")]
        per_key: Option<u32>,
        /// Starts of jobs in time, as JOBS/SPAN or JOBS/SPAN/BURST: 100/60s, or 100/60s/20 for at most 20 at once.
        #[arg(long)]
        rate: Option<String>,
        /// The same for each limit key.
        #[arg(long)]
        key_rate: Option<String>,
    },
    /// Sets how many jobs of one a worker runs at a time; workers follow within a second.
    Concurrency {
        /// The queue.
        queue: String,
        /// Jobs at a time, 0 to 10000; `default` goes back to how the workers were started.
        places: String,
        /// In this worker only; `waybill workers` lists them.
        #[arg(long, value_name = "WORKER_ID")]
        worker: Option<String>,
    },
}

/// What to do with a kind.
#[derive(Debug, Subcommand)]
pub enum Kinds {
    /// Lists them.
    List,
    /// Pauses one: none of its jobs is claimed, in whatever queue; what runs goes on.
    Pause {
        /// The kind.
        kind: String,
        /// Why, for the others.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Ends a pause: its jobs are claimed again.
    Resume {
        /// The kind.
        kind: String,
    },
    /// Pauses, and waits until none of it runs.
    Drain {
        /// The kind.
        kind: String,
        /// Why, for the others.
        #[arg(long)]
        reason: Option<String>,
        /// Seconds to wait; then the exit code is 1, and the kind stays paused.
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        timeout: u64,
    },
}

/// What to do with a worker.
#[derive(Debug, Subcommand)]
pub enum Workers {
    /// Lists them, and what each runs.
    List,
    /// Has one claim nothing more: what it runs goes on, others do the rest. It is dry once it holds nothing.
    Quiet {
        /// The worker's id.
        id: String,
    },
    /// Has a quiet one work again.
    Resume {
        /// The worker's id.
        id: String,
    },
}

/// What to do with a dependency.
#[derive(Debug, Subcommand)]
pub enum Dependencies {
    /// Lists them.
    List,
    /// Says that one is down: jobs that need it wait, and spend no attempts.
    Down {
        /// Its name.
        name: String,
        /// After so many seconds one job may try whether it is up again.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Why, for the others.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Says that one is up again: jobs that need it run.
    Up {
        /// Its name.
        name: String,
    },
}

/// What to do with the search index.
#[derive(Debug, Subcommand)]
pub enum Search {
    /// Writes the index anew from the products, as a job: after a repair, or a new release of the index. Search goes on
    /// meanwhile; nothing leaves the index.
    Reindex {
        /// Only the products of this category and of those below it.
        #[arg(long, value_name = "CATEGORY_ID")]
        category: Option<String>,
    },
}
