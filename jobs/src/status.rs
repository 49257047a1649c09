//! Where a job is, for its owner and for operators.

use diesel::sql_types::{BigInt, Bool, Double, Jsonb, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;
use waybill_schema::{
    Conn,
    system::{jobs, rework},
};

pub use waybill_schema::system::jobs::JobView;

use crate::logs::{self, LogLine};

/// What has happened to a job since somebody looked last.
#[derive(Debug, Clone, Serialize)]
pub struct Followed {
    /// As in [`JobView`].
    pub state: String,
    /// The running attempt, or the last one.
    pub attempt: i16,
    /// Whether its attempts are those of its compensation.
    pub undo: bool,
    /// What its handler last said of how far it is.
    pub progress: Option<Value>,
    /// What it came to.
    pub result: Option<Value>,
    /// Why it was cancelled, discarded or given up.
    pub reason: Option<String>,
    /// Whether nothing more will come, but for an operator's retry of a dead letter.
    pub over: bool,
    /// Lines of its log that the caller has not seen; with 200 of them there may be more.
    pub lines: Vec<LogLine>,
}

/// Follows a job: its state and progress now, and the lines after place `seen` (0 at first). Called again and again, twice a
/// second say, it costs two index look-ups while the job is live, and needs no LISTEN; there is no cheaper word from a
/// handler to any number of readers behind any number of API processes. Once `over` is true all lines have come or come
/// with this answer, if there are fewer than 200. `owner_id` is whose job it must be, if anybody's.
pub async fn follow(
    conn: &mut Conn,
    id: Uuid,
    owner_id: Option<Uuid>,
    seen: i64,
) -> QueryResult<Option<Followed>> {
    // The state before the lines: a run's lines are written before its outcome.
    let live: Option<Now> = waybill_schema::sql(
        "select state, attempt, undo, progress from jobs where id = $1 and ($2::uuid is null or owner_id = $2)",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<Nullable<SqlUuid>, _>(owner_id)
    .get_result(conn)
    .await
    .optional()?;
    let mut followed = if let Some(now) = live {
        Followed {
            state: now.state,
            attempt: now.attempt,
            undo: now.undo,
            progress: now.progress,
            result: None,
            reason: None,
            over: false,
            lines: Vec::new(),
        }
    } else {
        let Some(view) = find_where(conn, id, owner_id).await? else { return Ok(None) };
        Followed {
            over: !matches!(view.state.as_str(), "scheduled" | "queued" | "running"),
            attempt: view.attempt,
            undo: view.undo,
            progress: view.progress,
            result: view.result,
            state: view.job.state,
            reason: view.job.reason,
            lines: Vec::new(),
        }
    };
    followed.lines = logs::lines(conn, id, seen, LINES).await?;
    Ok(Some(followed))
}

/// Lines in one answer.
const LINES: i64 = 200;

#[derive(QueryableByName)]
struct Now {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = SmallInt)]
    attempt: i16,
    #[diesel(sql_type = Bool)]
    undo: bool,
    #[diesel(sql_type = Nullable<Jsonb>)]
    progress: Option<Value>,
}

/// A job by its id.
pub async fn find(conn: &mut Conn, id: Uuid) -> QueryResult<Option<JobView>> {
    find_where(conn, id, None).await
}

/// A job by its id, if it is this user's.
pub async fn find_for_owner(conn: &mut Conn, owner_id: Uuid, id: Uuid) -> QueryResult<Option<JobView>> {
    find_where(conn, id, Some(owner_id)).await
}

/// Those of `ids` that there are, in no order.
pub async fn find_all(conn: &mut Conn, ids: &[Uuid]) -> QueryResult<Vec<JobView>> {
    jobs::find(conn, ids, None).await
}

async fn find_where(conn: &mut Conn, id: Uuid, owner_id: Option<Uuid>) -> QueryResult<Option<JobView>> {
    Ok(jobs::find(conn, &[id], owner_id).await?.pop())
}

/// What the handler of a live job last said of how far it is: where an attempt goes on that follows another.
pub async fn progress(conn: &mut Conn, id: Uuid) -> QueryResult<Option<Value>> {
    #[derive(QueryableByName)]
    struct Noted {
        #[diesel(sql_type = Nullable<Jsonb>)]
        progress: Option<Value>,
    }
    let noted: Option<Noted> = waybill_schema::sql("select progress from jobs where id = $1")
        .bind::<SqlUuid, _>(id)
        .get_result(conn)
        .await
        .optional()?;
    Ok(noted.and_then(|noted| noted.progress))
}

/// How many jobs a queue has in a state.
#[derive(Debug, Clone, PartialEq, Serialize, QueryableByName)]
pub struct QueueCount {
    /// The queue.
    #[diesel(sql_type = Text)]
    pub queue: String,
    /// `scheduled`, `queued`, `running` or `dead`.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// How many.
    #[diesel(sql_type = BigInt)]
    pub jobs: i64,
    /// How long the first of them has been due, in seconds; 0 for those that are not.
    #[diesel(sql_type = Double)]
    pub oldest_seconds: f64,
}

/// The live and the dead jobs by queue and state, by one pass over both tables: it takes longer the more there are.
pub async fn counts(conn: &mut Conn) -> QueryResult<Vec<QueueCount>> {
    waybill_schema::sql(
        "select queue, state, count(*) as jobs,
                greatest(0, extract(epoch from clock_timestamp() - min(run_at)))::float8 as oldest_seconds
         from jobs group by queue, state
         union all
         select queue, 'dead', count(*), greatest(0, extract(epoch from clock_timestamp() - min(died_at)))::float8
         from dead_letters group by queue
         order by queue, state",
    )
    .load(conn)
    .await
}

/// Queues a dead job again, with all its attempts anew and its history kept; false if it is not among the dead, its
/// arguments were erased, it is a step of a workflow that is over or turns back, or another job has its unique slot.
pub async fn retry_dead(conn: &mut Conn, id: Uuid) -> QueryResult<bool> {
    conn.transaction(async |conn| Ok(!rework::revive(conn, &[id], false).await?.is_empty())).await
}
