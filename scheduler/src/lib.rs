//! The scheduler: turns schedules into jobs, and says how the service as a whole is doing.
//!
//! Any number of replicas may run. A schedule's row is locked by the one that fires it, and the key of `schedule_fires`
//! lets each time fire once, so there is no leader to lose.

pub mod board;
pub mod builtin;
pub mod fire;
pub mod gauges;
pub mod run;

/// Why a tick of the scheduler failed; the next one tries again.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// No connection.
    #[error("no database connection: {0}")]
    Pool(String),
    /// A query failed.
    #[error(transparent)]
    Database(#[from] diesel::result::Error),
    /// A job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] waybill_jobs::EnqueueError),
    /// A schedule cannot be read.
    #[error(transparent)]
    Spec(#[from] waybill_schema::schedules::spec::SpecError),
}

impl From<diesel_async::pooled_connection::bb8::RunError> for SchedulerError {
    fn from(error: diesel_async::pooled_connection::bb8::RunError) -> Self {
        Self::Pool(error.to_string())
    }
}
