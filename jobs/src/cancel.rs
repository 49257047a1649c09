//! Cancelling jobs, whether they wait or run.
//!
//! A job that waits is over at once. One that runs is asked: its worker hears of it within a heartbeat (a second, as a
//! rule at once), cancels the token of its context, and drops the handler when the grace is over. However that run ends,
//! short of done, the job is `cancelled` then; so it is when its worker dies meanwhile. A handler that is done all the same
//! was first, and the job is `done`.
//!
//! A job whose kind can undo ([`crate::Job::COMPENSATES`]) and that has begun does not end there: it is queued again, with all
//! its attempts, to be undone, and is `cancelled` when that is done, or a dead letter if it cannot be.

use diesel::sql_types::{Array, BigInt, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde_json::json;
use uuid::Uuid;
use waybill_schema::Conn;

use crate::postgres::{CHANNEL, notify::ASKED};

/// What became of the wish.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "cancelled", content = "state")]
pub enum Cancelled {
    /// It waited, and is over.
    Done,
    /// It is queued to undo what it did, or does so already.
    Undoing,
    /// It runs, and is asked to end; asked before, perhaps.
    Asked,
    /// It undoes a step of a workflow, which was given up already: that is what is wanted of it. Nothing was done.
    UndoesStep,
    /// It is over, in this state: `done`, `cancelled`, `discarded` or `dead`.
    NotLive(String),
    /// There is no such job.
    Unknown,
}

/// Jobs cancelled together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cancellations {
    /// Waited, and are over.
    pub done: usize,
    /// Queued to be undone.
    pub undoing: usize,
    /// Run, and are asked to end.
    pub asked: usize,
}

impl Cancellations {
    /// All of them.
    pub const fn total(&self) -> usize {
        self.done + self.undoing + self.asked
    }
}

/// Which live jobs; those that meet all that is given.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<String>,
    /// In this queue.
    pub queue: Option<String>,
    /// `scheduled`, `queued` or `running`.
    pub state: Option<String>,
    /// Of this trail.
    pub correlation_id: Option<Uuid>,
    /// Of this batch or workflow.
    pub flow_id: Option<Uuid>,
    /// About this person.
    pub subject_id: Option<Uuid>,
    /// Enqueued before this.
    pub created_before: Option<chrono::DateTime<chrono::Utc>>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    became: String,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// Cancels a job in the transaction open on `conn`; a running one is told once that commits. `by` and `reason` go to the
/// job's history.
pub async fn cancel(conn: &mut Conn, id: Uuid, by: &str, reason: &str) -> QueryResult<Cancelled> {
    let done = cancel_all(conn, &[id], by, reason).await?;
    if done.done > 0 {
        return Ok(Cancelled::Done);
    }
    if done.undoing > 0 {
        return Ok(Cancelled::Undoing);
    }
    if done.asked > 0 {
        return Ok(Cancelled::Asked);
    }
    let found: Option<Row> = waybill_schema::sql(
        "select case when exists (select from flow_steps s where s.flow_id = j.flow_id and s.undo_job_id = j.id) then 'undoes'
                     when undo then 'undoing' else state end as became
         from jobs j where id = $1
         union all select 'dead' from dead_letters where id = $1
         union all select state from job_history where id = $1
         limit 1",
    )
    .bind::<SqlUuid, _>(id)
    .get_result(conn)
    .await
    .optional()?;
    Ok(match found {
        Some(Row { became }) if became == "undoes" => Cancelled::UndoesStep,
        Some(Row { became }) if became == "undoing" => Cancelled::Undoing,
        Some(Row { became }) if became == "running" => Cancelled::Asked,
        Some(Row { became }) => Cancelled::NotLive(became),
        None => Cancelled::Unknown,
    })
}

/// Cancels the jobs that meet the filter, at most `limit` of them (the oldest), in the transaction open on `conn`. Whoever has
/// more to cancel calls it, a transaction each, until the total is 0.
///
/// Jobs that were asked or are being undone do not count again, and those that undo a workflow's steps are left to do so.
pub async fn cancel_where(
    conn: &mut Conn,
    filter: &Filter,
    limit: i64,
    by: &str,
    reason: &str,
) -> QueryResult<Cancellations> {
    let ids: Vec<Id> = waybill_schema::sql(
        "select id from jobs j
         where cancel is null
           and (flow_id is null or not exists (select from flow_steps s
                                               where s.flow_id = j.flow_id and s.undo_job_id = j.id))
           and ($1::text is null or kind = $1) and ($2::text is null or queue = $2)
           and ($3::text is null or state = $3) and ($4::uuid is null or correlation_id = $4)
           and ($5::uuid is null or flow_id = $5) and ($6::uuid is null or subject_id = $6)
           and ($7::timestamptz is null or created_at < $7)
         order by id limit $8",
    )
    .bind::<Nullable<Text>, _>(filter.kind.as_deref())
    .bind::<Nullable<Text>, _>(filter.queue.as_deref())
    .bind::<Nullable<Text>, _>(filter.state.as_deref())
    .bind::<Nullable<SqlUuid>, _>(filter.correlation_id)
    .bind::<Nullable<SqlUuid>, _>(filter.flow_id)
    .bind::<Nullable<SqlUuid>, _>(filter.subject_id)
    .bind::<Nullable<Timestamptz>, _>(filter.created_before)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    let ids: Vec<_> = ids.into_iter().map(|row| row.id).collect();
    cancel_all(conn, &ids, by, reason).await
}

/// Cancels those of `ids` that are live, were not cancelled before, and do not undo a workflow's step.
pub async fn cancel_all(conn: &mut Conn, ids: &[Uuid], by: &str, reason: &str) -> QueryResult<Cancellations> {
    if ids.is_empty() {
        return Ok(Cancellations::default());
    }
    let rows: Vec<Row> = waybill_schema::sql(concat!(
        "with wanted as (
             select id, state = 'running' as runs, compensates and (attempt > 0 or failures <> '[]') as undoes
             from jobs j
             where id = any($1) and cancel is null
               and (flow_id is null or not exists (select from flow_steps s
                                                   where s.flow_id = j.flow_id and s.undo_job_id = j.id))
             order by id for update),
         asked as (
             update jobs j set cancel = $2 || jsonb_build_object('at', clock_timestamp())
             from wanted w where j.id = w.id and w.runs
             returning 'asked' as became),
         turned as (
             update jobs j set cancel = $2 || jsonb_build_object('at', clock_timestamp()), undo = true, state = 'queued',
                 run_at = clock_timestamp(), attempt = 0
             from wanted w where j.id = w.id and not w.runs and w.undoes
             returning 'undoing' as became, queue),
         hinted as (select pg_notify($3, queue) from (select distinct queue from turned) t),
         gone as (
             delete from jobs j using wanted w where j.id = w.id and not w.runs and not w.undoes returning j.*),
         kept as (
             insert into job_history (",
        waybill_schema::job_columns!(),
        ",
                 state, failures, finished_at, reason)
             select ",
        waybill_schema::job_columns!(),
        ",
                 'cancelled', failures || jsonb_build_object('attempt', attempt, 'outcome', 'cancelled',
                     'error', $2 ->> 'reason', 'by', $2 ->> 'by', 'finished_at', clock_timestamp()),
                 clock_timestamp(), $2 ->> 'reason'
             from gone)
         select became from asked union all select became from turned union all select 'done' from gone
         union all select 'hint' from hinted"
    ))
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Jsonb, _>(json!({ "by": by, "reason": reason }))
    .bind::<Text, _>(CHANNEL)
    .load(conn)
    .await?;
    let count = |became: &str| rows.iter().filter(|row| row.became == became).count();
    let cancelled = Cancellations { done: count("done"), undoing: count("undoing"), asked: count("asked") };
    if cancelled.asked > 0 {
        // Inside the transaction, which makes commits wait for each other: cancelling is rare, and nobody else knows when
        // this one commits.
        waybill_schema::sql("select pg_notify($1, $2)")
            .bind::<Text, _>(CHANNEL)
            .bind::<Text, _>(ASKED)
            .execute(conn)
            .await?;
    }
    Ok(cancelled)
}
