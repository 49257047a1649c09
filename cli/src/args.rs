//! The command line.

use clap::{Parser, Subcommand};

/// Asks a Waybill API and acts on it. Exit code 0: fine; 1: asked and found wanting; 2: could not ask.
#[derive(Debug, Parser)]
#[command(name = "waybill", version)]
pub struct Args {
    /// Base URL of the API.
    #[arg(long, env = "WAYBILL_URL", default_value = "http://127.0.0.1:8080", global = true)]
    pub url: String,
    /// API key (scope system:read; orders:read for orders).
    #[arg(long, env = "WAYBILL_API_KEY", hide_env_values = true, global = true)]
    pub api_key: Option<String>,
    /// Print JSON rather than tables.
    #[arg(long, global = true)]
    pub json: bool,
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
    /// Checks the invariants: nothing oversold, nothing charged twice, ledgers sum.
    Checks,
    /// Queues with their depth, and workers with what they serve.
    Queues,
    /// Where an order is and how it got there.
    Order {
        /// The order's id.
        id: String,
    },
    /// A job, its attempts and its result.
    Job {
        /// The job's id.
        id: String,
    },
    /// Dead letters.
    #[command(subcommand)]
    Dead(Dead),
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Dead {
    /// Lists them, newest first.
    List {
        /// Only this kind.
        #[arg(long)]
        kind: Option<String>,
        /// Only this queue.
        #[arg(long)]
        queue: Option<String>,
    },
    /// Queues one again, with all its attempts.
    Retry {
        /// The job's id.
        id: String,
    },
    /// Gives one up for good.
    Discard {
        /// The job's id.
        id: String,
    },
}
