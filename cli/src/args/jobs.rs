//! Jobs and dead letters: how they are looked for, and what is done to them.

use clap::{Args as ClapArgs, Subcommand};

/// What jobs and dead letters are looked for by.
#[derive(Debug, Default, ClapArgs)]
pub struct CommonFilter {
    /// Only of this kind, such as mail.send; `waybill kinds` lists them.
    #[arg(long)]
    pub kind: Option<String>,
    /// Only of this queue; `waybill queues` lists them.
    #[arg(long)]
    pub queue: Option<String>,
    /// Only those whose errors or reason contain this, in any case.
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// Only from this time on: RFC 3339, or a span back from now such as 90s, 15m, 2h, 3d. Jobs count from when they were
    /// enqueued, dead letters from when they were given up.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only before this time: likewise.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// Which jobs.
#[derive(Debug, Default, ClapArgs)]
pub struct JobFilter {
    /// Only in these states, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = STATES)]
    pub state: Vec<String>,
    /// Only of this order, import, ...
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    /// Only of this user.
    #[arg(long, value_name = "USER_ID")]
    pub owner: Option<String>,
    /// What dead letters are looked for by, too.
    #[command(flatten)]
    pub common: CommonFilter,
}

/// States of a job.
const STATES: [&str; 7] = ["scheduled", "queued", "running", "done", "cancelled", "discarded", "dead"];

/// How a list is cut into pages.
#[derive(Debug, ClapArgs)]
pub struct Paging {
    /// Rows, 1 to 100.
    #[arg(long, value_name = "ROWS", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub limit: u8,
    /// Where to go on: what the page before said.
    #[arg(long)]
    pub cursor: Option<String>,
}

/// How many a change in bulk may touch.
#[derive(Debug, ClapArgs)]
pub struct Bulk {
    /// At most so many in bulk, or at a time with --all, 1 to 10000; the newest are taken first.
    #[arg(long, value_name = "JOBS", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub limit: u16,
    /// Only count what a filter finds and what of it can be changed, and change nothing.
    #[arg(long, conflicts_with = "id")]
    pub dry_run: bool,
}

/// A change of one job, or of all that a filter finds.
#[derive(Debug, ClapArgs)]
pub struct JobTarget {
    /// The job's id; without one, what the filter finds (name a --state).
    #[arg(conflicts_with_all = ["state", "kind", "queue", "correlation", "owner", "error", "since", "until"])]
    pub id: Option<String>,
    /// Everything that the filter finds, --limit at a time, and not only the first --limit.
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// Which jobs.
    #[command(flatten)]
    pub filter: JobFilter,
    /// How many.
    #[command(flatten)]
    pub bulk: Bulk,
}

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub enum Jobs {
    /// Lists them, the newest first.
    List {
        /// Which jobs.
        #[command(flatten)]
        filter: JobFilter,
        /// Which page.
        #[command(flatten)]
        paging: Paging,
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
        /// Goes on with its lines as they come, until it is over.
        #[arg(long, short)]
        follow: bool,
    },
    /// Retries: dead ones are queued again, waiting ones made due, finished ones enqueued once more.
    Retry {
        /// Which.
        #[command(flatten)]
        target: JobTarget,
        /// Also beside another job that has the unique slot.
        #[arg(long)]
        force: bool,
    },
    /// Cancels: waiting ones are over at once, running ones are asked to end.
    Cancel {
        /// Which.
        #[command(flatten)]
        target: JobTarget,
        /// Why, for the history of the jobs; no personal data.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Discards waiting and dead ones: nothing of them runs any more.
    Discard(JobTarget),
}

/// A change of one dead letter, or of all that a filter finds.
#[derive(Debug, ClapArgs)]
pub struct DeadTarget {
    /// The job's id; without one, what the filter finds.
    #[arg(conflicts_with_all = ["kind", "queue", "error", "since", "until"])]
    pub id: Option<String>,
    /// Everything that the filter finds, or every dead letter, --limit at a time; needed where no filter is given.
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// Which dead letters.
    #[command(flatten)]
    pub filter: CommonFilter,
    /// How many.
    #[command(flatten)]
    pub bulk: Bulk,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Dead {
    /// Lists them, newest first.
    List {
        /// Which.
        #[command(flatten)]
        filter: CommonFilter,
        /// Which page.
        #[command(flatten)]
        paging: Paging,
    },
    /// Queues them again, with all their attempts.
    Retry {
        /// Which.
        #[command(flatten)]
        target: DeadTarget,
        /// Also beside another job that has the unique slot.
        #[arg(long)]
        force: bool,
    },
    /// Gives them up for good.
    Discard(DeadTarget),
}
