//! Work that comes round.

use clap::Subcommand;

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
        /// When: `every 30s`, `at 2030-12-24T18:00:00Z`, or five or six cron fields (seconds first).
        #[arg(long)]
        spec: String,
        /// What to run; see `waybill kinds`.
        #[arg(long)]
        kind: String,
        /// The job's arguments, a JSON object.
        #[arg(long, value_name = "JSON", default_value = "{}")]
        arguments: String,
        /// Time zone of cron fields, such as Europe/London.
        #[arg(long, default_value = "UTC")]
        time_zone: String,
        /// Times that nobody fired within a minute: `skip` forgets them, `once` fires once for all, `all` fires each.
        #[arg(long, default_value = "once", value_parser = ["skip", "once", "all"])]
        missed: String,
        /// The newest missed times that fire at most under `--missed all`, which cannot do without.
        #[arg(long, value_name = "TIMES", required_if_eq("missed", "all"))]
        missed_limit: Option<u16>,
        /// A time that comes while the last job still lives: `skip` leaves it out, `allow` runs both, `queue` runs
        /// both, one after the other.
        #[arg(long, default_value = "skip", value_parser = ["skip", "allow", "queue"])]
        overlap: String,
    },
    /// Removes one; those of the program itself stay (pause them).
    Delete {
        /// Its name.
        name: String,
    },
    /// Pauses one: times that pass meanwhile are skipped, not missed.
    Pause {
        /// Its name.
        name: String,
    },
    /// Ends a pause: it fires at its next time.
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
