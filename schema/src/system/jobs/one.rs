//! Jobs by their ids.

use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Jsonb, Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::JobView;
use crate::Conn;

macro_rules! view_columns {
    () => {
        concat!(
            row_columns!(),
            ", progress, failures, flow_id, step, cancel is not null as cancel_asked, undo"
        )
    };
}

/// Those of `ids` that there are, in no order; only those of a user, if one is named.
pub async fn find(conn: &mut Conn, ids: &[Uuid], owner_id: Option<Uuid>) -> QueryResult<Vec<JobView>> {
    // One snapshot over the three tables: a job that moves meanwhile is seen on exactly one side. The history is looked up
    // by an index on each partition; ids carry their time, but a job may finish days after it was made.
    crate::sql(concat!(
        "select * from (
             select ",
        view_columns!(),
        ", state, null::timestamptz as finished_at, null::text as reason, null::jsonb as result, hold
             from jobs where id = any($1)
             union all
             select ",
        view_columns!(),
        ", 'dead', died_at, reason, null, null
             from dead_letters where id = any($1)
             union all
             select ",
        view_columns!(),
        ", state, finished_at, reason, result, null
             from job_history where id = any($1)) found
         where $2::uuid is null or owner_id = $2"
    ))
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Nullable<SqlUuid>, _>(owner_id)
    .load(conn)
    .await
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
    /// Of a schedule's job: which schedule, and for which of its times.
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub scheduled: Option<Value>,
    /// Its unique slot, `kind:key`, if it has one, or had.
    #[diesel(sql_type = Nullable<Text>)]
    pub unique_key: Option<String>,
}

/// What one job is about.
pub async fn inside(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Inside>> {
    crate::sql(
        "select payload, partition_key, limit_key, flow_id, step, traceparent, scheduled, unique_key from jobs where id = $1
         union all
         select payload, partition_key, limit_key, flow_id, step, traceparent, scheduled, unique_key from dead_letters where id = $1
         union all
         select payload, partition_key, limit_key, flow_id, step, traceparent, scheduled, unique_key from job_history where id = $1
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

/// The marks of those of `ids` that are live; the others are over, or dead. One look per job into one small index, and one into the
/// log of each day since it was enqueued.
pub async fn marks(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<Mark>> {
    crate::sql(
        "select id, hashtextextended(concat_ws('|', state, attempt, snoozes, claim, run_at, progress, hold, cancel, undo,
                    (select max(l.seq) from job_logs l where l.job_id = j.id and l.at >= j.created_at)), 0) as mark
         from jobs j where id = any($1)",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .load(conn)
    .await
}
