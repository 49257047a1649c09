//! Claiming: from `queued` to `running`.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{
    Array, BigInt, Bool, Integer, Jsonb, Nullable, SmallInt, Text, Timestamp, Timestamptz, Uuid as SqlUuid,
};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Conn;

use crate::payload::Payload;

use super::{
    limited,
    tid::{Tid, TidSql},
};

/// A job that this process holds.
#[derive(Debug, Clone, QueryableByName)]
pub struct Claimed {
    /// The job's id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its permanent kind.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// Version of the payload.
    #[diesel(sql_type = SmallInt)]
    pub version: i16,
    /// Smaller runs first.
    #[diesel(sql_type = SmallInt)]
    pub priority: i16,
    /// When it was to run.
    #[diesel(sql_type = Timestamptz)]
    pub run_at: DateTime<Utc>,
    /// When it was claimed, by the database's clock.
    #[diesel(sql_type = Timestamptz)]
    pub claimed_at: DateTime<Utc>,
    /// This attempt, from 1.
    #[diesel(sql_type = SmallInt)]
    pub attempt: i16,
    /// Attempts before it becomes a dead letter.
    #[diesel(sql_type = SmallInt)]
    pub max_attempts: i16,
    /// Times it was snoozed.
    #[diesel(sql_type = Integer)]
    pub snoozes: i32,
    /// Fencing token.
    #[diesel(sql_type = BigInt)]
    pub claim: i64,
    /// Jobs of one key run one at a time.
    #[diesel(sql_type = Nullable<Text>)]
    pub partition_key: Option<String>,
    /// Whose trail it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
    /// W3C trace context.
    #[diesel(sql_type = Nullable<Text>)]
    pub traceparent: Option<String>,
    /// The arguments.
    #[diesel(sql_type = Jsonb)]
    pub payload: Payload,
    /// When it was enqueued.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// The batch or workflow it is part of.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub flow_id: Option<Uuid>,
    /// Its name there.
    #[diesel(sql_type = Nullable<Text>)]
    pub step: Option<String>,
    /// Whether this is the run of its compensation.
    #[diesel(sql_type = Bool)]
    pub undo: bool,
    /// What limits per key count it by.
    #[diesel(sql_type = Nullable<Text>)]
    pub limit_key: Option<String>,
    /// The row in `job_claims` that says who has it.
    #[diesel(sql_type = BigInt)]
    pub claim_batch: i64,
    /// Where its row is while it runs, unless something is noted on it.
    #[diesel(sql_type = TidSql, column_name = "ctid")]
    pub place: Tid,
    /// Of a schedule's job: which schedule, and for which of its times.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub scheduled: Option<Value>,
}

/// A place in the order in which jobs run: the job's time, a step of priority being a minute, and its id.
pub type Turn = (NaiveDateTime, Uuid);

impl Claimed {
    fn turn(&self) -> Turn {
        ((self.run_at + TimeDelta::minutes(i64::from(self.priority))).naive_utc(), self.id)
    }
}

/// What to claim, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// From which queue.
    pub queue: &'a str,
    /// For which worker.
    pub worker: Uuid,
    /// At most so many.
    pub limit: usize,
    /// Only jobs behind this place. What runs stands in front of what waits, and a claim from the front steps over it.
    pub after: Option<Turn>,
    /// Claims of the worker whose last job has ended: their rows go with this statement.
    pub over: &'a [i64],
}

/// Before all turns; chrono's own least time is one that Postgres does not know.
const BEGINNING: NaiveDateTime =
    NaiveDateTime::new(NaiveDate::from_ymd_opt(1, 1, 1).expect("a date"), NaiveTime::MIN);

/// What a claim came to.
#[derive(Debug, Default)]
pub struct Claims {
    /// The jobs, those that run first in front.
    pub jobs: Vec<Claimed>,
    /// When to ask again, if a limit kept jobs back.
    pub again: Option<Duration>,
    /// How far the claim came, if it took any.
    pub reached: Option<Turn>,
}

/// The order in which jobs run: by time, a step of priority being a minute. As in the indexes, to the letter.
macro_rules! turn {
    () => {
        "(run_at at time zone 'UTC') + priority * interval '1 minute'"
    };
}

/// What a job `j` is claimed for only if it holds: the worker knows it or nobody does, its kind is not paused, what it needs is
/// up (or it is the one that tries), it is the head of its partition key. The subqueries about kinds do not depend on the job,
/// and run once.
///
/// The `or` of the last keeps the planner from turning the check for heads into a join over all keys. Two subqueries, each
/// one probe of an index: in one, all of a key's followers would be read for its head.
macro_rules! may_run {
    () => {
        concat!(
            crate::postgres::unknown::known!(),
            " and j.kind <> all (array(select kind from kind_controls where paused_at is not null))
         and (j.kind <> all (array(select n.kind from dependencies d join kind_needs n on n.dependency = d.name
                                   where d.down_since is not null))
              or j.id = any (array(select probe_id from dependencies
                                   where down_since is not null and probe_id is not null)))
         and (j.partition_key is null
               or not exists (select from jobs b where b.partition_key = j.partition_key and b.id < j.id)
                  and not exists (select from jobs b where b.running_key = j.partition_key))"
        )
    };
}

/// To be followed by `where ...` and [`taken!`]. Nothing that an index is built on changes, unless the job has a key of its
/// own: so Postgres writes the new row beside the old one, and no index.
macro_rules! take_them {
    () => {
        "taken as (
             update jobs
             set state = 'running', worker_id = $2, claimed_at = clock_timestamp(),
                 attempt = attempt + 1, claim = claim + 1, hold = null,
                 claim_batch = (select nextval('job_claims_id_seq'))"
    };
}

/// Who has them is one row for all: an index over the workers of jobs would be written for every job.
macro_rules! taken {
    () => {
        "    returning id, kind, version, priority, run_at, claimed_at, attempt, max_attempts, snoozes, claim,
                 partition_key, correlation_id, traceparent, payload, created_at, limit_key, flow_id, step, undo,
                 scheduled, claim_batch, ctid),
         noted as (
             insert into job_claims (id, worker_id, queue, ids)
             select claim_batch, $2, $1, array_agg(id) from taken group by claim_batch)
         select * from taken"
    };
}

pub(super) use {may_run, take_them, taken, turn};

/// Claims at most `limit` jobs of `queue` for `worker`, those that run first in front.
///
/// A worker whose row is gone gets none: it was taken for dead and has not noticed yet. A queue that is paused gives none,
/// and one with limits no more than they allow.
///
/// A job with a partition key is taken only as the head of its key: no other live job of the key has a smaller id, and none
/// runs. Two claimers that see different moments can still both think so, when a job with a smaller id commits late; the
/// unique index `jobs_one_running_per_key` then refuses the second one, whose claim comes back empty to be tried again.
pub async fn claim(conn: &mut Conn, queue: &str, worker: Uuid, limit: usize) -> QueryResult<Vec<Claimed>> {
    let ask = Ask { queue, worker, limit, after: None, over: &[] };
    Ok(claims(conn, &ask).await?.jobs)
}

/// [`claim`] that goes on where another ended, and says when to ask again.
pub async fn claims(conn: &mut Conn, ask: &Ask<'_>) -> QueryResult<Claims> {
    let claimed = async {
        // Most queues have no limits. One that has answers with nothing here and is asked again, so that nobody else pays.
        let jobs = take(conn, ask, false).await?;
        if jobs.is_empty() && ask.limit > 0 && ask.after.is_none() && is_limited(conn, ask.queue).await? {
            return limited::claims(conn, ask).await;
        }
        let reached = jobs.iter().map(Claimed::turn).max();
        Ok(Claims { jobs, again: None, reached })
    };
    match claimed.await {
        Ok(mut claims) => {
            claims.jobs.sort_unstable_by_key(Claimed::turn);
            Ok(claims)
        }
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => Ok(Claims::default()),
        Err(error) => Err(error),
    }
}

/// Claims from a queue without limits, or (`limited`) as many as its limits allow.
pub(super) async fn take(conn: &mut Conn, ask: &Ask<'_>, limited: bool) -> QueryResult<Vec<Claimed>> {
    // By ctid: the rows were found and locked in this very statement, so no index has to be searched again, and the plan
    // stays the same whatever the planner thinks of the number of rows (a join is at times planned as a scan of the table).
    // No key update: whoever holds a follower of a job back locks that job's key.
    let (turn, id) = ask.after.unwrap_or((BEGINNING, Uuid::nil()));
    waybill_schema::sql(concat!(
        "with swept as (delete from job_claims where id = any($7) and worker_id = $2), ",
        take_them!(),
        " where ctid = any (array(
             select ctid from jobs j
             where queue = $1 and due and state = 'queued' and hold is null and (",
        turn!(),
        ", id) > ($5, $6)
               and exists (select from workers where id = $2)
               and not exists (select from queue_controls
                               where queue = $1 and (paused_at is not null or limited and not $4))
               and ",
        may_run!(),
        " order by ",
        turn!(),
        ", id
             limit $3
             for no key update skip locked)) ",
        taken!()
    ))
    .bind::<Text, _>(ask.queue)
    .bind::<SqlUuid, _>(ask.worker)
    .bind::<BigInt, _>(i64::try_from(ask.limit).unwrap_or(i64::MAX))
    .bind::<Bool, _>(limited)
    .bind::<Timestamp, _>(turn)
    .bind::<SqlUuid, _>(id)
    .bind::<Array<BigInt>, _>(ask.over)
    .load(conn)
    .await
}

#[derive(QueryableByName)]
struct Limited {
    #[diesel(sql_type = Bool)]
    limited: bool,
}

async fn is_limited(conn: &mut Conn, queue: &str) -> QueryResult<bool> {
    let answer: Option<Limited> = waybill_schema::sql(
        "select limited and paused_at is null as limited from queue_controls where queue = $1",
    )
    .bind::<Text, _>(queue)
    .get_result(conn)
    .await
    .optional()?;
    Ok(answer.is_some_and(|answer| answer.limited))
}
