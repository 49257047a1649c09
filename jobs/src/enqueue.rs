//! Enqueueing, always on the caller's connection: there is no way to enqueue outside a transaction of the caller's choice.
//! A shared reference is enough, so that a caller can send statements that do not depend on each other together
//! (`tokio::try_join!`), in one round trip.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Bool, Double, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::{Conn, new_id};

use crate::{
    contract::Job,
    postgres::touched,
    seal::{self, SealError},
    unique::{Enqueued, MAX_KEY, Unique},
};

/// The priorities a job may have. A step is a minute of waiting, so the first overtakes what came 16 hours before it.
pub const PRIORITIES: std::ops::RangeInclusive<i16> = -1_000..=1_000;

/// Tries for a unique slot that is given up again whenever we ask who has it.
const TRIES: u8 = 20;

/// Why a job was not enqueued. The caller's transaction cannot be committed after `Database`.
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
    /// Others took and left the unique slot faster than this could.
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
    pub unique: Option<Unique>,
}

impl Row {
    /// A job that is data.
    pub(crate) fn raw(job: RawJob, options: Enqueue) -> Self {
        Self {
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
            unique: options.unique,
        }
    }

    pub(crate) fn new<J: Job>(job: &J, options: Enqueue) -> Result<Self, EnqueueError> {
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
            payload: seal::payload(job)?,
            unique: options.unique.or_else(|| job.unique()),
        })
    }

    fn check(&self) -> Result<(), EnqueueError> {
        if !PRIORITIES.contains(&self.priority) {
            return Err(EnqueueError::Priority(self.priority));
        }
        match &self.unique {
            Some(unique) if unique.key.is_empty() || unique.key.len() > MAX_KEY => {
                Err(EnqueueError::UniqueKey(unique.key.len()))
            }
            _ => Ok(()),
        }
    }

    /// The slot's name: a kind's keys are its own.
    fn slot(&self) -> Option<String> {
        self.unique.as_ref().map(|unique| format!("{}:{}", self.kind, unique.key))
    }
}

pub(crate) async fn insert(conn: &Conn, rows: &[Row]) -> Result<Vec<Enqueued>, EnqueueError> {
    rows.iter().try_for_each(Row::check)?;
    if rows.iter().all(|row| row.unique.is_none()) {
        let rows: Vec<_> = rows.iter().collect();
        write(conn, &rows).await?;
        return Ok(rows.iter().map(|row| Enqueued::Inserted(row.id)).collect());
    }
    let mut answers: Vec<Option<Enqueued>> = vec![None; rows.len()];
    // To try again for one slot while having others is to wait out of order, which may end in a deadlock with another batch.
    // So a batch looks beforehand as well, and seldom has to: who had a slot then is an answer, even if it has just left.
    let slots: Vec<_> = rows.iter().filter_map(Row::slot).collect();
    let before = if slots.len() > 1 { holders(conn, &slots).await? } else { HashMap::new() };
    for _ in 0..TRIES {
        let open: Vec<_> = (0..rows.len()).filter(|index| answers[*index].is_none()).collect();
        let inserted =
            write_unique(conn, &open.iter().map(|index| &rows[*index]).collect::<Vec<_>>()).await?;
        let slots: Vec<_> = open.iter().filter_map(|index| rows[*index].slot()).collect();
        // A statement of its own, since the one above does not see what others committed while it ran.
        let after = if inserted.len() < open.len() { holders(conn, &slots).await? } else { HashMap::new() };
        for index in open {
            let row = &rows[index];
            answers[index] = if inserted.contains(&row.id) {
                Some(Enqueued::Inserted(row.id))
            } else {
                // Without a holder, the one who had the slot has just left: it is ours to try again.
                row.slot()
                    .and_then(|slot| after.get(&slot).or_else(|| before.get(&slot)))
                    .map(|holder| Enqueued::Existing(*holder))
            };
        }
        if answers.iter().all(Option::is_some) {
            return Ok(answers.into_iter().flatten().collect());
        }
    }
    let slot = rows.iter().zip(&answers).find(|(_, answer)| answer.is_none()).and_then(|(row, _)| row.slot());
    Err(EnqueueError::Contended(slot.unwrap_or_default()))
}

// unnest keeps the plan and the statement's text the same for any number of rows, so it is prepared once.
macro_rules! insert_jobs {
    ($with:expr, $more:expr, $of:expr, $binds:expr, $names:expr, $where:expr) => {
        concat!(
            $with,
            "insert into jobs (id, kind, version, queue, priority, state, run_at, max_attempts, partition_key,
                           correlation_id, causation_id, owner_id, traceparent, payload, limit_key, flow_id, step, subject_id,
                           compensates",
            $more,
            ")
         select id, kind, version, queue, priority,
                case when run_at > now() then 'scheduled' else 'queued' end, coalesce(run_at, now()),
                max_attempts, partition_key, correlation_id, causation_id, owner_id, traceparent, payload, limit_key,
                flow_id, step, subject_id, compensates",
            $of,
            "
         from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18",
            $binds,
            ")
              as t(id, kind, version, queue, priority, run_at, max_attempts, partition_key,
                   correlation_id, causation_id, owner_id, traceparent, payload, limit_key,
                   flow_id, step, subject_id, compensates",
            $names,
            ")",
            $where
        )
    };
}

macro_rules! bind_jobs {
    ($statement:expr, $rows:ident) => {
        $statement
            .bind::<Array<SqlUuid>, _>($rows.iter().map(|r| r.id).collect::<Vec<_>>())
            .bind::<Array<Text>, _>($rows.iter().map(|r| r.kind.as_str()).collect::<Vec<_>>())
            .bind::<Array<SmallInt>, _>($rows.iter().map(|r| r.version).collect::<Vec<_>>())
            .bind::<Array<Text>, _>($rows.iter().map(|r| r.queue.as_str()).collect::<Vec<_>>())
            .bind::<Array<SmallInt>, _>($rows.iter().map(|r| r.priority).collect::<Vec<_>>())
            .bind::<Array<Nullable<Timestamptz>>, _>($rows.iter().map(|r| r.run_at).collect::<Vec<_>>())
            .bind::<Array<SmallInt>, _>($rows.iter().map(|r| r.max_attempts).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(
                $rows.iter().map(|r| r.partition_key.as_deref()).collect::<Vec<_>>(),
            )
            .bind::<Array<Nullable<SqlUuid>>, _>($rows.iter().map(|r| r.correlation_id).collect::<Vec<_>>())
            .bind::<Array<Nullable<SqlUuid>>, _>($rows.iter().map(|r| r.causation_id).collect::<Vec<_>>())
            .bind::<Array<Nullable<SqlUuid>>, _>($rows.iter().map(|r| r.owner_id).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(
                $rows.iter().map(|r| r.traceparent.as_deref()).collect::<Vec<_>>(),
            )
            .bind::<Array<Jsonb>, _>($rows.iter().map(|r| &r.payload).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>(
                $rows.iter().map(|r| r.limit_key.as_deref()).collect::<Vec<_>>(),
            )
            .bind::<Array<Nullable<SqlUuid>>, _>($rows.iter().map(|r| r.flow_id).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>($rows.iter().map(|r| r.step.as_deref()).collect::<Vec<_>>())
            .bind::<Array<Nullable<SqlUuid>>, _>($rows.iter().map(|r| r.subject_id).collect::<Vec<_>>())
            .bind::<Array<Bool>, _>($rows.iter().map(|r| r.compensates).collect::<Vec<_>>())
    };
}

async fn write(conn: &Conn, rows: &[&Row]) -> QueryResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let statement = waybill_schema::sql(insert_jobs!("", "", "", "", "", ""));
    bind_jobs!(statement, rows).execute(&mut &*conn).await?;
    note(rows.iter().copied());
    Ok(())
}

/// Writes those whose slot is free, and their slots; answers with their ids.
///
/// One statement, so that there is never a slot without its job. A slot whose window is over is taken away first. On a
/// conflict nothing is done, and nothing is locked: a completion that gives the slot up must not wait for the caller's
/// transaction. In order of the keys, so that two callers wait for each other instead of deadlocking.
async fn write_unique(conn: &Conn, rows: &[&Row]) -> QueryResult<HashSet<Uuid>> {
    let statement = waybill_schema::sql(insert_jobs!(
        "with wanted as (
             select slot, id, scope, within, place
             from unnest($19, $1, $20, $21) with ordinality as w(slot, id, scope, within, place)
             where slot is not null),
         over as (
             delete from job_uniques u using wanted w
             where u.key = w.slot and u.scope = 'window' and u.until <= clock_timestamp()
             returning u.key),
         taken as (
             insert into job_uniques (key, job_id, scope, until)
             select slot, id, scope, clock_timestamp() + within * interval '1 second'
             from wanted where (select count(*) from over) >= 0
             order by slot, place
             on conflict do nothing
             returning job_id)
         ",
        ", unique_key",
        ", slot",
        ", $19",
        ", slot",
        "
         where slot is null or id in (select job_id from taken)
         returning id"
    ));
    let inserted: Vec<Inserted> = bind_jobs!(statement, rows)
        .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|r| r.slot()).collect::<Vec<_>>())
        .bind::<Array<Nullable<Text>>, _>(
            rows.iter().map(|r| r.unique.as_ref().map(|unique| unique.scope.as_str())).collect::<Vec<_>>(),
        )
        .bind::<Array<Nullable<Double>>, _>(
            rows.iter()
                .map(|r| {
                    r.unique.as_ref().and_then(|unique| unique.within).map(|within| within.as_secs_f64())
                })
                .collect::<Vec<_>>(),
        )
        .load(&mut &*conn)
        .await?;
    let inserted: HashSet<_> = inserted.into_iter().map(|row| row.id).collect();
    note(rows.iter().copied().filter(|row| inserted.contains(&row.id)));
    Ok(inserted)
}

#[derive(QueryableByName)]
struct Inserted {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

#[derive(QueryableByName)]
struct Holder {
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = SqlUuid)]
    job_id: Uuid,
}

async fn holders(conn: &Conn, slots: &[String]) -> QueryResult<HashMap<String, Uuid>> {
    let holders: Vec<Holder> = waybill_schema::sql("select key, job_id from job_uniques where key = any($1)")
        .bind::<Array<Text>, _>(slots)
        .load(&mut &*conn)
        .await?;
    Ok(holders.into_iter().map(|holder| (holder.key, holder.job_id)).collect())
}

/// The queues whose workers may be woken.
fn note<'a>(rows: impl Iterator<Item = &'a Row>) {
    rows.filter(|row| row.run_at.is_none()).for_each(|row| touched::note(&row.queue));
}
