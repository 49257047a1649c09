//! Enqueueing, always on the caller's connection: there is no way to enqueue outside a transaction of the caller's choice.
//! A shared reference is enough, so that a caller can send statements that do not depend on each other together
//! (`tokio::try_join!`), in one round trip.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Bool, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::{Conn, new_id};

use crate::{contract::Job, postgres::touched};

/// Why a job was not enqueued. The caller's transaction cannot be committed after the second.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The arguments do not serialise.
    #[error("job arguments: {0}")]
    Encode(#[from] serde_json::Error),
    /// The insert failed.
    #[error("enqueue: {0}")]
    Database(#[from] diesel::result::Error),
}

/// What may be chosen per job rather than per kind.
#[derive(Debug, Clone, Default)]
pub struct Enqueue {
    /// Its id, if the caller needs it beforehand; a new one otherwise.
    pub id: Option<Uuid>,
    /// Not before this; at once otherwise.
    pub run_at: Option<DateTime<Utc>>,
    /// Smaller runs first; 0 otherwise.
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
    /// The batch or workflow it is part of.
    pub flow_id: Option<Uuid>,
    /// Its name there.
    pub step: Option<String>,
}

/// Enqueues a job in the transaction open on `conn`; returns its id.
pub async fn enqueue<J: Job>(conn: &Conn, job: &J) -> Result<Uuid, EnqueueError> {
    enqueue_with(conn, job, Enqueue::default()).await
}

/// [`enqueue`] with options.
pub async fn enqueue_with<J: Job>(conn: &Conn, job: &J, options: Enqueue) -> Result<Uuid, EnqueueError> {
    let ids = insert(conn, &[Row::new(job, options)?]).await?;
    Ok(ids[0])
}

/// Enqueues many jobs of a kind in one statement; returns their ids in order.
pub async fn enqueue_all<'a, J: Job>(
    conn: &Conn,
    jobs: impl IntoIterator<Item = (&'a J, Enqueue)>,
) -> Result<Vec<Uuid>, EnqueueError> {
    let rows =
        jobs.into_iter().map(|(job, options)| Row::new(job, options)).collect::<Result<Vec<_>, _>>()?;
    Ok(insert(conn, &rows).await?)
}

/// A job whose kind is data: what a schedule or an operator enqueues.
#[derive(Debug, Clone)]
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
            payload: serde_json::to_value(job)?,
        })
    }
}

/// Enqueues a job that is data in the transaction open on `conn`; returns its id.
pub async fn enqueue_raw(conn: &Conn, job: RawJob, options: Enqueue) -> Result<Uuid, EnqueueError> {
    let row = Row {
        id: options.id.unwrap_or_else(new_id),
        kind: job.kind,
        version: job.version,
        queue: job.queue,
        priority: options.priority,
        run_at: options.run_at,
        max_attempts: job.max_attempts,
        partition_key: None,
        correlation_id: options.correlation_id,
        causation_id: options.causation_id,
        owner_id: options.owner_id,
        traceparent: options.traceparent.or_else(crate::trace::traceparent),
        limit_key: None,
        flow_id: options.flow_id,
        step: options.step,
        subject_id: options.subject_id,
        compensates: false,
        payload: job.payload,
    };
    let ids = insert(conn, &[row]).await?;
    Ok(ids[0])
}

/// One job as it goes into the table.
pub(crate) struct Row {
    pub id: Uuid,
    pub kind: String,
    pub version: i16,
    pub queue: String,
    pub priority: i16,
    pub run_at: Option<DateTime<Utc>>,
    pub max_attempts: i16,
    pub partition_key: Option<String>,
    pub correlation_id: Option<Uuid>,
    pub causation_id: Option<Uuid>,
    pub owner_id: Option<Uuid>,
    pub traceparent: Option<String>,
    pub limit_key: Option<String>,
    pub flow_id: Option<Uuid>,
    pub step: Option<String>,
    pub subject_id: Option<Uuid>,
    pub compensates: bool,
    pub payload: Value,
}

impl Row {
    fn new<J: Job>(job: &J, options: Enqueue) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: options.id.unwrap_or_else(new_id),
            kind: J::KIND.to_owned(),
            version: J::VERSION,
            queue: J::QUEUE.to_owned(),
            priority: options.priority,
            run_at: options.run_at,
            max_attempts: J::POLICY.max_attempts,
            partition_key: job.partition_key(),
            correlation_id: options.correlation_id.or_else(|| job.correlation_id()),
            causation_id: options.causation_id,
            owner_id: options.owner_id,
            traceparent: options.traceparent.or_else(crate::trace::traceparent),
            limit_key: job.limit_key(),
            flow_id: options.flow_id,
            step: options.step,
            subject_id: options.subject_id.or_else(|| job.subject_id()),
            compensates: J::COMPENSATES,
            payload: serde_json::to_value(job)?,
        })
    }
}

/// One statement for any number of rows: unnest keeps the plan and the statement text the same, so it is prepared once.
pub(crate) async fn insert(conn: &Conn, rows: &[Row]) -> Result<Vec<Uuid>, diesel::result::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    waybill_schema::sql(
        "insert into jobs (id, kind, version, queue, priority, state, run_at, max_attempts, partition_key,
                           correlation_id, causation_id, owner_id, traceparent, payload, limit_key, flow_id, step, subject_id,
                           compensates)
         select id, kind, version, queue, priority,
                case when run_at > now() then 'scheduled' else 'queued' end, coalesce(run_at, now()),
                max_attempts, partition_key, correlation_id, causation_id, owner_id, traceparent, payload, limit_key,
                flow_id, step, subject_id, compensates
         from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
              as t(id, kind, version, queue, priority, run_at, max_attempts, partition_key,
                   correlation_id, causation_id, owner_id, traceparent, payload, limit_key,
                   flow_id, step, subject_id, compensates)",
    )
    .bind::<Array<SqlUuid>, _>(rows.iter().map(|r| r.id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(rows.iter().map(|r| r.kind.as_str()).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(rows.iter().map(|r| r.version).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(rows.iter().map(|r| r.queue.as_str()).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(rows.iter().map(|r| r.priority).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(rows.iter().map(|r| r.run_at).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(rows.iter().map(|r| r.max_attempts).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|r| r.partition_key.as_deref()).collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(rows.iter().map(|r| r.correlation_id).collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(rows.iter().map(|r| r.causation_id).collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(rows.iter().map(|r| r.owner_id).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|r| r.traceparent.as_deref()).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(rows.iter().map(|r| &r.payload).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|r| r.limit_key.as_deref()).collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(rows.iter().map(|r| r.flow_id).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|r| r.step.as_deref()).collect::<Vec<_>>())
    .bind::<Array<Nullable<SqlUuid>>, _>(rows.iter().map(|r| r.subject_id).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(rows.iter().map(|r| r.compensates).collect::<Vec<_>>())
    .execute(&mut &*conn)
    .await?;
    rows.iter().filter(|r| r.run_at.is_none()).for_each(|r| touched::note(&r.queue));
    Ok(rows.iter().map(|r| r.id).collect())
}
