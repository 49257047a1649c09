//! Claiming: from `queued` to `running`.

use chrono::{DateTime, Utc};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{BigInt, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::Conn;

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
    pub payload: Value,
    /// When it was enqueued.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
}

/// Claims at most `limit` jobs of `queue` for `worker`, those that run first in front.
///
/// A worker whose row is gone gets none: it was taken for dead and has not noticed yet.
///
/// A job with a partition key is taken only as the head of its key: no other live job of the key has a smaller id, and none
/// runs. Two claimers that see different moments can still both think so, when a job with a smaller id commits late; the
/// unique index `jobs_one_running_per_key` then refuses the second one, whose claim comes back empty to be tried again.
pub async fn claim(conn: &mut Conn, queue: &str, worker: Uuid, limit: usize) -> QueryResult<Vec<Claimed>> {
    // By ctid: the rows were found and locked in this very statement, so no index has to be searched again, and the plan
    // stays the same whatever the planner thinks of the number of rows (a join is at times planned as a scan of the table).
    // The `or` keeps the planner from turning the check for heads into a join over all keys.
    let claimed = waybill_schema::sql(
        "update jobs
         set state = 'running', worker_id = $2, claimed_at = clock_timestamp(),
             attempt = attempt + 1, claim = claim + 1
         where ctid = any (array(
             select ctid from jobs j
             where queue = $1 and state = 'queued' and exists (select from workers where id = $2)
               and (partition_key is null or not exists (
                   select from jobs b
                   where b.partition_key = j.partition_key and b.id <> j.id
                     and (b.id < j.id or b.state = 'running')))
             order by priority, run_at, id
             limit $3
             for update skip locked))
         returning id, kind, version, priority, run_at, claimed_at, attempt, max_attempts, snoozes, claim,
                   partition_key, correlation_id, traceparent, payload, created_at",
    )
    .bind::<Text, _>(queue)
    .bind::<SqlUuid, _>(worker)
    .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
    .load::<Claimed>(conn)
    .await;
    match claimed {
        Ok(mut jobs) => {
            jobs.sort_unstable_by_key(|job| (job.priority, job.run_at, job.id));
            Ok(jobs)
        }
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
