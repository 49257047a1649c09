//! The log of events.

use clap::Subcommand;

use super::Paging;

/// What to do with the events of the past.
#[derive(Debug, Subcommand)]
pub enum Events {
    /// Lists events in the order in which they were handed on.
    List {
        /// Only this topic.
        #[arg(long)]
        topic: Option<String>,
        /// Events created from this on: a time (RFC 3339), or a span back from now (`2h`).
        #[arg(long)]
        since: Option<String>,
        /// About this order, product, ...
        #[arg(long, value_name = "ID")]
        aggregate: Option<String>,
        /// Only those that went this way: over the broker, or over Postgres because there was none.
        #[arg(long, value_parser = ["amqp", "postgres"])]
        lane: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Publishes events of the past to the broker, for consumers with queues of their own; asks first. Waybill's own pipelines
    /// leave them alone: those have `waybill replay`.
    Republish {
        /// Only this topic.
        #[arg(long)]
        topic: Option<String>,
        /// Events created from this on: a time (RFC 3339), or a span back from now (`2h`).
        #[arg(long)]
        since: String,
        /// Events created before this; now otherwise.
        #[arg(long)]
        until: Option<String>,
        /// Those too that the broker has carried before, not only those that went over Postgres.
        #[arg(long)]
        all: bool,
    },
}
