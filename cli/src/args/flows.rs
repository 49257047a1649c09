//! Batches and workflows.

use clap::{Args as ClapArgs, Subcommand};

use super::Paging;

/// Which flows.
#[derive(Debug, Default, ClapArgs)]
pub struct FlowFilter {
    /// Only in these states, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = STATES)]
    pub state: Vec<String>,
    /// Only batches, or only workflows.
    #[arg(long, value_parser = ["batch", "workflow"])]
    pub kind: Option<String>,
    /// Only of this name, such as import.
    #[arg(long)]
    pub name: Option<String>,
    /// Only of this order, import, ...
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    /// Only of this user.
    #[arg(long, value_name = "USER_ID")]
    pub owner: Option<String>,
    /// Only started from this time on: RFC 3339, or a span back from now such as 15m, 2h, 3d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only started before this time: likewise.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only those that a dead letter holds up: retry or discard it.
    #[arg(long)]
    pub held: bool,
}

/// States of a flow.
const STATES: [&str; 5] = ["running", "undoing", "done", "failed", "cancelled"];

/// What to do with batches and workflows.
#[derive(Debug, Subcommand)]
pub enum Flows {
    /// Lists them, the newest first.
    List {
        /// Which.
        #[command(flatten)]
        filter: FlowFilter,
        /// Which page.
        #[command(flatten)]
        paging: Paging,
    },
    /// Shows one: steps, jobs, and what holds it up.
    Show {
        /// The flow.
        id: String,
    },
    /// Cancels one: its jobs end, and steps that are done are undone, the last first.
    Cancel {
        /// The flow.
        id: String,
        /// Why, for the record; no personal data.
        #[arg(long)]
        reason: Option<String>,
    },
}
