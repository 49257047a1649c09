//! What a handler knows of the job it runs.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Bool, Jsonb, Nullable, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_schema::{Conn, Pool};

use crate::{
    clock::Clock,
    contract::{Failure, Finished},
    flows,
    logs::{Level, Logs},
    payload::Payload,
    postgres::Claimed,
    scheduled::Scheduled,
};

/// The claimed job, the pool, and the signal to stop.
#[derive(Clone)]
pub struct JobContext {
    /// The job's id.
    pub id: Uuid,
    /// Its permanent kind.
    pub kind: String,
    /// This attempt, from 1.
    pub attempt: i16,
    /// Attempts before it becomes a dead letter.
    pub max_attempts: i16,
    /// Fencing token of this claim.
    pub claim: i64,
    /// Times it was snoozed.
    pub snoozes: i32,
    /// The aggregate whose trail it belongs to.
    pub correlation_id: Option<Uuid>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// The batch or workflow it is part of.
    pub flow_id: Option<Uuid>,
    /// Its name there.
    pub step: Option<String>,
    /// Whether this is the run of its compensation: somebody cancelled the job after it had begun.
    pub undo: bool,
    /// Which schedule enqueued it, and for which of its times.
    pub scheduled: Option<Scheduled>,
    /// What [`log`](Self::log) writes to.
    pub logs: Logs,
    /// Connections.
    pub pool: Pool,
    /// What [`now`](Self::now) reads.
    pub clock: Clock,
    /// Cancelled when somebody cancels the job, at the timeout, at shutdown's deadline, and when this process can no longer prove it lives.
    pub cancelled: CancellationToken,
}

/// The claim is no longer ours: another worker has the job, or it is over. Whatever the transaction did must roll back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this attempt no longer holds the job")]
pub struct ClaimLost;

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = Bool)]
    held: bool,
}

impl JobContext {
    /// The context of a claimed job, and its payload.
    pub(crate) fn of(
        job: Claimed,
        pool: &Pool,
        clock: &Clock,
        cancelled: CancellationToken,
        logs: Logs,
    ) -> (Self, Payload) {
        let context = Self {
            id: job.id,
            kind: job.kind,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            claim: job.claim,
            snoozes: job.snoozes,
            correlation_id: job.correlation_id,
            created_at: job.created_at,
            flow_id: job.flow_id,
            step: job.step,
            undo: job.undo,
            scheduled: job.scheduled.as_ref().and_then(Scheduled::read),
            logs,
            pool: pool.clone(),
            clock: clock.clone(),
            cancelled,
        };
        (context, job.payload)
    }

    /// The time. A handler that asks here, and not the system, can be tested with a clock that stands still.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The time of its schedule that this job is for, whenever it runs: a report of yesterday that is made up for today is
    /// still yesterday's. `None` if no schedule enqueued it.
    pub fn scheduled_for(&self) -> Option<DateTime<Utc>> {
        self.scheduled.as_ref().map(|scheduled| scheduled.at)
    }

    /// Writes a line that the job's owner may read: no secrets, nothing of other people. Lines are kept for a moment and
    /// written together; a job keeps the first 1,000 of 2,000 characters each. Lines of a task that outlives its run are not
    /// taken. Never waits, never fails.
    pub fn log(&self, level: Level, line: impl Into<String>) {
        self.logs.add(level, line.into());
    }

    /// What an earlier step of this job's workflow came to; `None` if that step had no result, or is not done.
    pub async fn step_result(&self, conn: &mut Conn, step: &str) -> Result<Option<Value>, Failure> {
        let Some(flow_id) = self.flow_id else { return Ok(None) };
        Ok(flows::result_of(conn, flow_id, step).await?)
    }

    /// Refuses to go on unless this attempt still holds the job, and keeps it so until the transaction on `conn` ends.
    /// Call it first in every transaction of a handler that does not end in [`finish`](Self::finish).
    pub async fn guard(&self, conn: &mut Conn) -> Result<(), Failure> {
        let held: Option<Held> = waybill_schema::sql(
            "select true as held from jobs where id = $1 and claim = $2 and state = 'running' for share",
        )
        .bind::<SqlUuid, _>(self.id)
        .bind::<BigInt, _>(self.claim)
        .get_result(conn)
        .await
        .optional()?;
        match held {
            Some(Held { held: true }) => Ok(()),
            _ => Err(ClaimLost.into()),
        }
    }

    /// Completes the job inside the transaction on `conn`: what the handler wrote there and the completion commit
    /// together. Return the answer as [`crate::Outcome::Finished`] after the commit.
    pub async fn finish(&self, conn: &Conn, result: Option<Value>) -> Result<Finished, Failure> {
        let moved = waybill_schema::sql(concat!(
            "with gone as (
                 delete from jobs where id = $1 and claim = $2 and state = 'running' returning *)
             insert into job_history (",
            waybill_schema::job_columns!(),
            ",
                 state, failures, finished_at, result, reason)
             select ",
            waybill_schema::job_columns!(),
            ",
                 case when undo then 'cancelled' else 'done' end, failures, clock_timestamp(), $3,
                 case when undo then cancel ->> 'reason' end
             from gone"
        ))
        .bind::<SqlUuid, _>(self.id)
        .bind::<BigInt, _>(self.claim)
        .bind::<Nullable<Jsonb>, _>(result)
        .execute(&mut &*conn)
        .await?;
        if moved == 1 { Ok(Finished("done")) } else { Err(ClaimLost.into()) }
    }

    /// Records progress for the job's owner. Best called a few times a second at most.
    pub async fn progress(&self, conn: &mut Conn, progress: &Value) -> Result<(), Failure> {
        let updated = waybill_schema::sql(
            "update jobs set progress = $3 where id = $1 and claim = $2 and state = 'running'",
        )
        .bind::<SqlUuid, _>(self.id)
        .bind::<BigInt, _>(self.claim)
        .bind::<Jsonb, _>(progress)
        .execute(conn)
        .await?;
        if updated == 1 { Ok(()) } else { Err(ClaimLost.into()) }
    }
}
