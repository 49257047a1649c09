//! The command line.

mod controls;
mod events;
mod flows;
mod jobs;
mod schedules;
#[cfg(test)]
#[allow(clippy::panic)]
mod tests;

use clap::{Parser, Subcommand};

pub use self::{
    controls::{Dependencies, Kinds, Queues, Search, Workers},
    events::Events,
    flows::{FlowFilter, Flows},
    jobs::{Bulk, CommonFilter, Dead, DeadTarget, JobFilter, JobTarget, Jobs, Paging},
    schedules::Schedules,
};

/// Asks a Waybill API and acts on it.
///
/// Exit codes: 0 done; 1 asked and found wanting (a check is broken, a queue or kind did not run dry in time, a followed job is
/// dead, a health address is not well); 2 could not ask, or was refused; 3 not confirmed.
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
    /// Do not ask before changing many jobs, a replay or a republishing. Needed where there is no terminal to ask on.
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Asks one health address and says by its exit code whether all is well; for container health checks.
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
    /// Batches and workflows: where they stand, what holds them up, cancelling one.
    #[command(subcommand)]
    Flows(Flows),
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
    /// Workers, what each runs since when, and quieting one of them. Lists them when nothing else is said.
    Workers {
        /// What to do with one.
        #[command(subcommand)]
        command: Option<Workers>,
    },
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
    /// The log of events: reading it, and having it published again.
    #[command(subcommand)]
    Events(Events),
    /// Search: writing the index anew.
    #[command(subcommand)]
    Search(Search),
    /// Who changed what at run time, the newest first.
    Actions(Actions),
    /// Prints the completion script of a shell: `waybill completion bash > /etc/bash_completion.d/waybill`.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Which changes.
#[derive(Debug, clap::Args)]
pub struct Actions {
    /// Rows, 1 to 100.
    #[arg(long, value_name = "ROWS", default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub limit: u8,
    /// Where to go on: what the page before said.
    #[arg(long)]
    pub cursor: Option<String>,
    /// Only from this time on: RFC 3339, or a span back from now such as 15m, 2h, 3d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only before this time: likewise.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only of this one: `admin:ID`, `api_key:ID`, or `owner` for what customers did to jobs of their own.
    #[arg(long)]
    pub actor: Option<String>,
    /// Only this, such as queue.pause, or, such as queue, everything of an area.
    #[arg(long)]
    pub action: Option<String>,
    /// Only to this: a queue, a kind, a job's id, a schedule.
    #[arg(long)]
    pub target: Option<String>,
}
