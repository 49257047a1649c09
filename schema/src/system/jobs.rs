//! Jobs as operators look for them: live ones, finished ones and dead ones in one list.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::Conn;

/// A job in a list, wherever it is.
#[derive(Debug, Clone, QueryableByName)]
pub struct JobRow {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// Its permanent kind.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// Its queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// A live job's state, `dead`, or how it ended.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// Smaller runs first.
    #[diesel(sql_type = SmallInt)]
    pub priority: i16,
    /// Attempts begun.
    #[diesel(sql_type = SmallInt)]
    pub attempt: i16,
    /// Attempts it may have.
    #[diesel(sql_type = SmallInt)]
    pub max_attempts: i16,
    /// Times it was snoozed.
    #[diesel(sql_type = Integer)]
    pub snoozes: i32,
    /// When it is due, or was.
    #[diesel(sql_type = Timestamptz)]
    pub run_at: DateTime<Utc>,
    /// Enqueued.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// The newest attempt's begin.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub started_at: Option<DateTime<Utc>>,
    /// Over.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
    /// Who runs it, or ran it last.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub worker_id: Option<Uuid>,
    /// The order, import, ... it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
    /// What enqueued it.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub causation_id: Option<Uuid>,
    /// The user who may read it.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub owner_id: Option<Uuid>,
    /// Why it was cancelled, discarded or given up.
    #[diesel(sql_type = Nullable<Text>)]
    pub reason: Option<String>,
    /// The newest entry of its attempts that did not end in done.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub last_failure: Option<Value>,
}

/// What to look for; what is none, or empty, does not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only in these states.
    pub states: Vec<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only of this queue.
    pub queue: Option<String>,
    /// Only of this order, import, ...
    pub correlation_id: Option<Uuid>,
    /// Only of this user.
    pub owner_id: Option<Uuid>,
    /// Only those whose errors or reason contain this, in any case.
    pub error: Option<String>,
    /// Enqueued at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Enqueued before this.
    pub until: Option<DateTime<Utc>>,
}

/// The condition on one of the three tables. `$state` and `$reason` are its expressions for both, `$ended` a condition of
/// its own.
macro_rules! matching {
    ($state:literal, $reason:literal, $ended:literal) => {
        concat!(
            "(cardinality($1::text[]) = 0 or ",
            $state,
            " = any($1)) and ($2::text is null or kind = $2)
             and ($3::text is null or queue = $3) and ($4::uuid is null or correlation_id = $4)
             and ($5::uuid is null or owner_id = $5) and ($7::timestamptz is null or created_at >= $7)
             and ($8::timestamptz is null or created_at < $8) and ($9::uuid is null or id < $9) and ",
            $ended,
            "
             and ($6::text is null or position(lower($6) in lower(coalesce(",
            $reason,
            ", ''))) > 0
                  or exists (select from jsonb_array_elements(failures) f(entry)
                             where position(lower($6) in lower(f.entry ->> 'error')) > 0))"
        )
    };
}

macro_rules! found {
    ($columns:literal) => {
        concat!(
            "(select ",
            $columns,
            ", state, null::timestamptz as finished_at, null::text as reason from jobs
              where ",
            matching!("state", "null::text", "true"),
            " order by id desc limit $10)
             union all
             (select ",
            $columns,
            ", 'dead', died_at, reason from dead_letters
              where ",
            matching!("'dead'", "reason", "true"),
            " order by id desc limit $10)
             union all
             (select ",
            $columns,
            ", state, finished_at, reason from job_history
              where ",
            // A job ends after it is enqueued: leaves out the partitions of the days before.
            matching!("state", "reason", "($7::timestamptz is null or finished_at >= $7)"),
            " order by id desc limit $10)"
        )
    };
}

const LIST: &str = concat!(
    "select * from (",
    found!(
        "id, kind, queue, priority, attempt, max_attempts, snoozes, run_at, created_at, claimed_at as started_at, worker_id,
         correlation_id, causation_id, owner_id, failures -> -1 as last_failure"
    ),
    ") found order by id desc limit $10"
);

const IDS: &str = concat!("select id, state from (", found!("id"), ") found order by id desc limit $10");

/// A job and where it is.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Found {
    /// Id.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// A live job's state, `dead`, or how it ended.
    #[diesel(sql_type = Text)]
    pub state: String,
}

/// Binds the values of a filter in the order of the macros. Not through `waybill_schema::sql`: each set of filters needs a plan
/// of its own, and a prepared statement would be given one for all of them.
macro_rules! bind {
    ($text:expr, $filter:expr, $after:expr, $limit:expr) => {
        diesel::sql_query($text)
            .bind::<Array<Text>, _>(&$filter.states)
            .bind::<Nullable<Text>, _>($filter.kind.as_deref())
            .bind::<Nullable<Text>, _>($filter.queue.as_deref())
            .bind::<Nullable<SqlUuid>, _>($filter.correlation_id)
            .bind::<Nullable<SqlUuid>, _>($filter.owner_id)
            .bind::<Nullable<Text>, _>($filter.error.as_deref())
            .bind::<Nullable<Timestamptz>, _>($filter.since)
            .bind::<Nullable<Timestamptz>, _>($filter.until)
            .bind::<Nullable<SqlUuid>, _>($after)
            .bind::<BigInt, _>($limit)
    };
}

/// Jobs by id, the newest first, after the one with the id `after`. Live, dead and finished ones are read in the order of
/// their ids, so a page costs what it takes to find its rows, not the size of the history.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<JobRow>> {
    bind!(LIST, filter, after, limit).load(conn).await
}

/// At most `limit` of them, the newest first, with their states: what a bulk change will touch.
pub async fn find_ids(conn: &mut Conn, filter: &Filter, limit: i64) -> QueryResult<Vec<Found>> {
    bind!(IDS, filter, None::<Uuid>, limit).load(conn).await
}

/// What a job is about, beside where it is.
#[derive(Debug, Clone, QueryableByName)]
pub struct Inside {
    /// Its arguments; a sealed kind's are sealed here too.
    #[diesel(sql_type = Jsonb)]
    pub payload: Value,
    /// Jobs of one such key run one at a time.
    #[diesel(sql_type = Nullable<Text>)]
    pub partition_key: Option<String>,
    /// What limits per key count by.
    #[diesel(sql_type = Nullable<Text>)]
    pub limit_key: Option<String>,
    /// The batch or workflow it is part of.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub flow_id: Option<Uuid>,
    /// Its name there.
    #[diesel(sql_type = Nullable<Text>)]
    pub step: Option<String>,
    /// W3C trace context of who enqueued it.
    #[diesel(sql_type = Nullable<Text>)]
    pub traceparent: Option<String>,
}

/// What one job is about.
pub async fn inside(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Inside>> {
    use diesel::OptionalExtension as _;
    crate::sql(
        "select payload, partition_key, limit_key, flow_id, step, traceparent from jobs where id = $1
         union all
         select payload, partition_key, limit_key, flow_id, step, traceparent from dead_letters where id = $1
         union all
         select payload, partition_key, limit_key, flow_id, step, traceparent from job_history where id = $1
         limit 1",
    )
    .bind::<SqlUuid, _>(id)
    .get_result(conn)
    .await
    .optional()
}

/// A live job and a number that differs when anything its owner sees has.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct Mark {
    /// The job.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// The number.
    #[diesel(sql_type = BigInt)]
    pub mark: i64,
}

/// The marks of those of `ids` that are live; the others are over, or dead. One look per job into one small index.
pub async fn marks(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<Mark>> {
    crate::sql(
        "select id, hashtextextended(concat_ws('|', state, attempt, snoozes, claim, run_at, progress), 0) as mark
         from jobs where id = any($1)",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .load(conn)
    .await
}
