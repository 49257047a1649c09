//! Enqueueing, always on the caller's connection: there is no way to enqueue outside a transaction of the caller's choice.
//! A shared reference is enough, so that a caller can send statements that do not depend on each other together
//! (`tokio::try_join!`), in one round trip.

mod row;
mod write;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Conn;

pub(crate) use row::Row;
use write::{write, write_unique};

use crate::{
    contract::Job,
    seal::{self, SealError},
    unique::{Enqueued, Unique},
};

/// The priorities a job may have. A step is a minute of waiting, so the first overtakes what came 16 hours before it.
pub const PRIORITIES: std::ops::RangeInclusive<i16> = -1_000..=1_000;

/// Why a job was not enqueued. The caller's transaction cannot be committed after `Database`; after `Contended` it should not be, as
/// others of a batch are.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The arguments do not serialise.
    #[error("job arguments: {0}")]
    Encode(#[from] serde_json::Error),
    /// The arguments could not be sealed.
    #[error("job arguments: {0}")]
    Seal(#[from] SealError),
    /// The insert failed.
    #[error("enqueue: {0}")]
    Database(#[from] diesel::result::Error),
    /// The priority is out of [`PRIORITIES`].
    #[error("priority {0} is not between -1000 and 1000")]
    Priority(i16),
    /// The unique key is empty or longer than 500 bytes.
    #[error("a unique key has 1 to 500 bytes, not {0}")]
    UniqueKey(usize),
    /// Others took and left the unique slot whenever this tried, twenty times.
    #[error("the unique slot {0} changes hands all the time")]
    Contended(String),
}

/// What may be chosen per job rather than per kind.
#[derive(Debug, Clone, Default)]
pub struct Enqueue {
    /// Its id, if the caller needs it beforehand; a new one otherwise.
    pub id: Option<Uuid>,
    /// Not before this; at once otherwise.
    pub run_at: Option<DateTime<Utc>>,
    /// Smaller runs first, as if it had come that many minutes sooner; one of [`PRIORITIES`], 0 otherwise.
    pub priority: i16,
    /// The user who may read it.
    pub owner_id: Option<Uuid>,
    /// The job or event that caused it.
    pub causation_id: Option<Uuid>,
    /// Overrides [`Job::correlation_id`].
    pub correlation_id: Option<Uuid>,
    /// W3C trace context; that of the task otherwise, see [`crate::trace`].
    pub traceparent: Option<String>,
    /// Overrides [`Job::subject_id`].
    pub subject_id: Option<Uuid>,
    /// For a kind whose jobs have no [`Job::partition_key`].
    pub partition_key: Option<String>,
    /// The batch or workflow it is part of.
    pub flow_id: Option<Uuid>,
    /// Its name there.
    pub step: Option<String>,
    /// Overrides [`Job::unique`].
    pub unique: Option<Unique>,
}

/// Enqueues a job in the transaction open on `conn`; returns its id, or that of the job that has its unique slot.
pub async fn enqueue<J: Job>(conn: &Conn, job: &J) -> Result<Uuid, EnqueueError> {
    enqueue_with(conn, job, Enqueue::default()).await
}

/// [`enqueue`] with options.
pub async fn enqueue_with<J: Job>(conn: &Conn, job: &J, options: Enqueue) -> Result<Uuid, EnqueueError> {
    try_enqueue(conn, job, options).await.map(Enqueued::id)
}

/// Enqueues a job in the transaction open on `conn`, and says whether its unique slot was free.
pub async fn try_enqueue<J: Job>(conn: &Conn, job: &J, options: Enqueue) -> Result<Enqueued, EnqueueError> {
    let answers = insert(conn, &[Row::new(job, options)?]).await?;
    Ok(answers[0])
}

/// Enqueues many jobs of a kind in one statement; returns their ids in order, as [`enqueue`] does.
///
/// Callers that want the same unique slots wait for each other, in one order whatever that of `jobs` is, so one call each cannot
/// end in a deadlock. Several in a transaction can, as with any rows: put what you have into one.
pub async fn enqueue_all<'a, J: Job>(
    conn: &Conn,
    jobs: impl IntoIterator<Item = (&'a J, Enqueue)>,
) -> Result<Vec<Uuid>, EnqueueError> {
    Ok(try_enqueue_all(conn, jobs).await?.into_iter().map(Enqueued::id).collect())
}

/// [`enqueue_all`] that says of each whether its unique slot was free. Of two in `jobs` that want the same, the first has it.
pub async fn try_enqueue_all<'a, J: Job>(
    conn: &Conn,
    jobs: impl IntoIterator<Item = (&'a J, Enqueue)>,
) -> Result<Vec<Enqueued>, EnqueueError> {
    let rows =
        jobs.into_iter().map(|(job, options)| Row::new(job, options)).collect::<Result<Vec<_>, _>>()?;
    insert(conn, &rows).await
}

/// A job whose kind is data: what a schedule or an operator enqueues.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct RawJob {
    /// The permanent kind.
    pub kind: String,
    /// The payload's version.
    pub version: i16,
    /// The queue.
    pub queue: String,
    /// Attempts before it becomes a dead letter.
    pub max_attempts: i16,
    /// The arguments.
    pub payload: Value,
}

impl RawJob {
    /// The same job as data.
    pub fn of<J: Job>(job: &J) -> Result<Self, EnqueueError> {
        Ok(Self {
            kind: J::KIND.to_owned(),
            version: J::VERSION,
            queue: J::QUEUE.to_owned(),
            max_attempts: J::POLICY.max_attempts,
            payload: seal::payload(job)?,
        })
    }
}

/// Enqueues a job that is data in the transaction open on `conn`; returns its id, or that of the job that has its unique
/// slot.
pub async fn enqueue_raw(conn: &Conn, job: RawJob, options: Enqueue) -> Result<Uuid, EnqueueError> {
    try_enqueue_raw(conn, job, options).await.map(Enqueued::id)
}

/// [`enqueue_raw`] that says whether its unique slot was free.
pub async fn try_enqueue_raw(conn: &Conn, job: RawJob, options: Enqueue) -> Result<Enqueued, EnqueueError> {
    let row = Row::raw(job, options);
    let answers = insert(conn, &[row]).await?;
    Ok(answers[0])
}

/// Writes jobs and takes their unique slots.
pub(crate) async fn insert(conn: &Conn, rows: &[Row]) -> Result<Vec<Enqueued>, EnqueueError> {
    rows.iter().try_for_each(Row::check)?;
    if rows.iter().all(|row| row.unique.is_none()) {
        write(conn, rows).await?;
        return Ok(rows.iter().map(|row| Enqueued::Inserted(row.id)).collect());
    }
    let taken = write_unique(conn, rows).await?;
    rows.iter()
        .map(|row| match (row.slot(), taken.get(&row.id).copied().flatten()) {
            (None, _) => Ok(Enqueued::Inserted(row.id)),
            (Some(_), Some(holder)) if holder == row.id => Ok(Enqueued::Inserted(row.id)),
            (Some(_), Some(holder)) => Ok(Enqueued::Existing(holder)),
            (Some(slot), None) => Err(EnqueueError::Contended(slot)),
        })
        .collect()
}
