//! The command line.

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Asks a Waybill API and acts on it.
///
/// Exit codes: 0 done; 1 asked and found wanting (a check is broken, a queue did not run dry in time); 2 could not ask, or
/// was refused; 3 not confirmed.
#[derive(Debug, Parser)]
#[command(name = "waybill", version)]
pub struct Args {
    /// Base URL of the API.
    #[arg(long, env = "WAYBILL_URL", default_value = "http://127.0.0.1:8080", global = true)]
    pub url: String,
    /// API key (scope system:read to look, system:write to change; orders:read for orders).
    #[arg(long, env = "WAYBILL_API_KEY", hide_env_values = true, global = true)]
    pub api_key: Option<String>,
    /// Print JSON rather than tables.
    #[arg(long, global = true)]
    pub json: bool,
    /// Do not ask before changing many jobs. Needed where there is no terminal to ask on.
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Asks one health address; for container health checks.
    Health {
        /// For instance `http://127.0.0.1:8080/health/ready`.
        url: String,
    },
    /// Which requests are admitted, and how long queues lag.
    Status,
    /// Checks the invariants: nothing oversold, nothing charged twice, ledgers sum.
    Checks,
    /// Where an order is and how it got there.
    Order {
        /// The order's id.
        id: String,
    },
    /// Jobs: waiting, running, finished and dead.
    #[command(subcommand)]
    Jobs(Jobs),
    /// Queues: depth, lag, pauses, limits, concurrency. Lists them when nothing else is said.
    Queues {
        /// What to do with one.
        #[command(subcommand)]
        command: Option<Queues>,
    },
    /// Kinds of jobs, and pausing one of them. Lists them when nothing else is said.
    Kinds {
        /// What to do with one.
        #[command(subcommand)]
        command: Option<Kinds>,
    },
    /// What jobs need from outside, and saying that it is down. Lists them when nothing else is said.
    Dependencies {
        /// What to do with one.
        #[command(subcommand)]
        command: Option<Dependencies>,
    },
    /// Workers, and what each runs since when.
    Workers,
    /// Schedules: work that comes round. Lists them when nothing else is said.
    Schedules {
        /// What to do with one.
        #[command(subcommand)]
        command: Option<Schedules>,
    },
    /// Dead letters: jobs that somebody must decide about.
    #[command(subcommand)]
    Dead(Dead),
    /// Events that are written and not handed on yet, by topic.
    Outbox,
    /// Pipelines of events, and how far each is behind.
    Pipelines,
    /// Gives a pipeline events of the past again; asks first, with their number.
    Replay {
        /// The pipeline, as `waybill pipelines` lists them.
        #[arg(long)]
        pipeline: String,
        /// Only this topic; every one that the pipeline reacts to otherwise.
        #[arg(long)]
        topic: Option<String>,
        /// Events created from this on: a time (RFC 3339), or a span back from now (`2h`).
        #[arg(long)]
        since: String,
        /// Events created before this; now otherwise.
        #[arg(long)]
        until: Option<String>,
    },
    /// Who changed what at run time, the newest first.
    Actions {
        /// Rows, 1 to 100.
        #[arg(long, default_value_t = 20)]
        limit: u8,
    },
    /// Prints the completion script of a shell: `waybill completion bash > /etc/bash_completion.d/waybill`.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Which jobs.
#[derive(Debug, Default, ClapArgs)]
pub struct JobFilter {
    /// Only in these states: scheduled, queued, running, done, cancelled, discarded, dead.
    #[arg(long, value_delimiter = ',')]
    pub state: Vec<String>,
    /// Only of this kind.
    #[arg(long)]
    pub kind: Option<String>,
    /// Only of this queue.
    #[arg(long)]
    pub queue: Option<String>,
    /// Only of this order, import, ...
    #[arg(long)]
    pub correlation: Option<String>,
    /// Only of this user.
    #[arg(long)]
    pub owner: Option<String>,
    /// Only those whose errors contain this.
    #[arg(long)]
    pub error: Option<String>,
    /// Only those enqueued since: a time (RFC 3339), or a span back from now such as 90s, 15m, 2h, 3d.
    #[arg(long)]
    pub since: Option<String>,
    /// Only those enqueued before: likewise.
    #[arg(long)]
    pub until: Option<String>,
}

/// A change of one job, or of all that a filter finds.
#[derive(Debug, ClapArgs)]
pub struct JobTarget {
    /// The job; without one, all that the filter finds (name a state).
    #[arg(conflicts_with_all = ["state", "kind", "queue", "correlation", "owner", "error", "since", "until"])]
    pub id: Option<String>,
    /// Which jobs.
    #[command(flatten)]
    pub filter: JobFilter,
    /// Jobs at most in bulk, 1 to 10000, the newest first.
    #[arg(long, default_value_t = 1_000)]
    pub limit: u16,
    /// Only count.
    #[arg(long, conflicts_with = "id")]
    pub dry_run: bool,
}

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub enum Jobs {
    /// Lists them, the newest first.
    List {
        /// Which jobs.
        #[command(flatten)]
        filter: JobFilter,
        /// Rows, 1 to 100.
        #[arg(long, default_value_t = 50)]
        limit: u8,
        /// Where to go on: what the page before said.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Shows one: arguments, attempts, result.
    Show {
        /// The job.
        id: String,
    },
    /// Shows the lines that a job has logged.
    Logs {
        /// The job.
        id: String,
    },
    /// Retries: dead ones are queued again, waiting ones made due, finished ones enqueued once more.
    Retry(JobTarget),
    /// Cancels: waiting ones are over at once, running ones are asked to end.
    Cancel {
        /// Which.
        #[command(flatten)]
        target: JobTarget,
        /// Why, for the job's history (one job only).
        #[arg(long)]
        reason: Option<String>,
    },
    /// Discards waiting and dead ones: nothing of them runs any more.
    Discard(JobTarget),
}

/// What to do with a queue.
#[derive(Debug, Subcommand)]
pub enum Queues {
    /// Lists them.
    List,
    /// Nothing more is claimed; what runs goes on.
    Pause {
        /// The queue.
        queue: String,
        /// Why, for the others.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Jobs are claimed again.
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
        #[arg(long, default_value_t = 300)]
        timeout: u64,
    },
    /// Limits it over all workers. All limits at once: what is not named is no longer limited.
    Limit {
        /// The queue.
        queue: String,
        /// Jobs that run at a time.
        #[arg(long)]
        running: Option<u32>,
        /// Jobs of one limit key that run at a time.
        #[arg(long)]
        per_key: Option<u32>,
        /// Starts of jobs in time, such as 100/60s, or 100/60s/20 with a burst of 20.
        #[arg(long)]
        rate: Option<String>,
        /// The same for each limit key.
        #[arg(long)]
        key_rate: Option<String>,
    },
    /// Sets how many jobs of it a worker runs at a time.
    Concurrency {
        /// The queue.
        queue: String,
        /// Jobs at a time; `default` goes back to how the workers were started.
        places: String,
        /// In this worker only.
        #[arg(long)]
        worker: Option<String>,
    },
}

/// What to do with a kind.
#[derive(Debug, Subcommand)]
pub enum Kinds {
    /// Lists them.
    List,
    /// None of its jobs is claimed.
    Pause {
        /// The kind.
        kind: String,
        /// Why, for the others.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Its jobs are claimed again.
    Resume {
        /// The kind.
        kind: String,
    },
}

/// What to do with a dependency.
#[derive(Debug, Subcommand)]
pub enum Dependencies {
    /// Lists them.
    List,
    /// Jobs that need it wait.
    Down {
        /// Its name.
        name: String,
        /// After so many seconds one job may try.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Why, for the others.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Jobs that need it run.
    Up {
        /// Its name.
        name: String,
    },
}

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub enum Schedules {
    /// Lists them.
    List,
    /// Shows one, its next times and its last runs.
    Show {
        /// Its name.
        name: String,
    },
    /// Makes or replaces one.
    Put {
        /// Its name.
        name: String,
        /// `every 30s`, `at 2026-12-24T18:00:00Z`, or cron fields.
        #[arg(long)]
        spec: String,
        /// What to run; see `waybill kinds`.
        #[arg(long)]
        kind: String,
        /// Its arguments as JSON.
        #[arg(long, default_value = "{}")]
        arguments: String,
        /// Time zone of cron fields.
        #[arg(long, default_value = "UTC")]
        time_zone: String,
        /// Missed times: skip, once or all.
        #[arg(long, default_value = "once")]
        missed: String,
        /// Missed times that fire at most under `all`.
        #[arg(long, default_value_t = 1)]
        missed_limit: u16,
        /// While the last job lives: skip or allow.
        #[arg(long, default_value = "skip")]
        overlap: String,
    },
    /// Removes one that was made here.
    Delete {
        /// Its name.
        name: String,
    },
    /// Rests one.
    Pause {
        /// Its name.
        name: String,
    },
    /// Wakes one.
    Resume {
        /// Its name.
        name: String,
    },
    /// Runs its job now.
    Run {
        /// Its name.
        name: String,
        /// Also beside a job of it that still lives.
        #[arg(long)]
        force: bool,
    },
}

/// Which dead letters.
#[derive(Debug, Default, ClapArgs)]
pub struct DeadFilter {
    /// Only of this kind.
    #[arg(long)]
    pub kind: Option<String>,
    /// Only of this queue.
    #[arg(long)]
    pub queue: Option<String>,
    /// Only those whose errors contain this.
    #[arg(long)]
    pub error: Option<String>,
    /// Only those given up since: a time (RFC 3339), or a span back from now such as 90s, 15m, 2h, 3d.
    #[arg(long)]
    pub since: Option<String>,
    /// Only those given up before: likewise.
    #[arg(long)]
    pub until: Option<String>,
}

/// A change of one dead letter, or of all that a filter finds.
#[derive(Debug, ClapArgs)]
pub struct DeadTarget {
    /// The job; without one, all that the filter finds.
    #[arg(conflicts_with_all = ["kind", "queue", "error", "since", "until"])]
    pub id: Option<String>,
    /// Without a filter too: all of them.
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// Which dead letters.
    #[command(flatten)]
    pub filter: DeadFilter,
    /// At most in bulk, 1 to 10000, the newest first.
    #[arg(long, default_value_t = 1_000)]
    pub limit: u16,
    /// Only count.
    #[arg(long, conflicts_with = "id")]
    pub dry_run: bool,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Dead {
    /// Lists them, newest first.
    List {
        /// Which.
        #[command(flatten)]
        filter: DeadFilter,
        /// Rows, 1 to 100.
        #[arg(long, default_value_t = 50)]
        limit: u8,
        /// Where to go on: what the page before said.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Queues them again, with all their attempts.
    Retry(DeadTarget),
    /// Gives them up for good.
    Discard(DeadTarget),
}
