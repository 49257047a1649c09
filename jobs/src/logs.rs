//! The lines a handler writes for its job's owner.
//!
//! They are rows of `job_logs`, which is partitioned by day and shed with the history. Lines are collected for half a second,
//! or until there are 100, and written in one statement outside the handler's transaction: they tell what a run did
//! even if its effects are rolled back.
//!
//! A run's last lines are written before its outcome is, also when its handler was dropped, and those that come later are not
//! taken: once a job is over nothing is added to it, so that who erases it has erased all. A worker that was taken for dead
//! may still have lines in hand; they are refused as soon as another has claimed the job, or the job was erased.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_schema::{Conn, Pool};

/// Lines kept of one job, over all its attempts.
pub const MAX_LINES: i64 = 1_000;
/// Characters kept of a line.
pub const MAX_CHARS: usize = 2_000;
/// How long a line waits for others.
const PATIENCE: Duration = Duration::from_millis(500);
/// Lines written at once.
const BATCH: usize = 100;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For whoever looks for an error.
    Debug,
    /// What was done.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A line as its reader gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, QueryableByName)]
pub struct LogLine {
    /// Its place among the lines of the job: ever growing, with gaps.
    #[diesel(sql_type = BigInt)]
    pub seq: i64,
    /// When it was written.
    #[diesel(sql_type = Timestamptz)]
    pub at: DateTime<Utc>,
    /// By which attempt.
    #[diesel(sql_type = SmallInt)]
    pub attempt: i16,
    /// `debug`, `info`, `warn` or `error`.
    #[diesel(sql_type = Text)]
    pub level: String,
    /// The line.
    #[diesel(sql_type = Text)]
    pub line: String,
}

/// Where a run's lines go. Clones share it; the default throws them away.
#[derive(Clone, Default)]
pub struct Logs(Option<Arc<Run>>);

struct Run {
    job: Uuid,
    attempt: i16,
    claim: i64,
    pool: Pool,
    waiting: Mutex<Waiting>,
    // One writer at a time: lines must not overtake each other.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<(DateTime<Utc>, Level, String)>,
    /// Lines taken from the handler in this run.
    taken: i64,
    /// A task will write them.
    scheduled: bool,
    /// The run is over.
    ended: bool,
}

impl Logs {
    pub(crate) fn new(job: Uuid, attempt: i16, claim: i64, pool: &Pool) -> Self {
        Self(Some(Arc::new(Run {
            job,
            attempt,
            claim,
            pool: pool.clone(),
            waiting: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        })))
    }

    /// Takes a line. Must be called inside a tokio runtime.
    pub(crate) fn add(&self, level: Level, mut line: String) {
        let Some(run) = &self.0 else { return };
        if line.contains('\0') {
            line = line.replace('\0', "\u{fffd}");
        }
        if let Some((end, _)) = line.char_indices().nth(MAX_CHARS) {
            line.truncate(end);
        }
        let mut waiting = run.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // What is beyond would be thrown away by the statement; it must not fill the memory before.
        if waiting.ended || waiting.taken >= MAX_LINES {
            return;
        }
        waiting.taken += 1;
        waiting.lines.push((Utc::now(), level, line));
        let full = waiting.lines.len() == BATCH;
        if full || !waiting.scheduled {
            waiting.scheduled = true;
            let logs = self.clone();
            tokio::spawn(async move {
                if !full {
                    tokio::time::sleep(PATIENCE).await;
                }
                logs.flush().await;
            });
        }
    }

    /// Takes no more lines, and writes what waits. For the end of the run, however it came, before its outcome is stored.
    pub(crate) async fn end(&self) {
        if let Some(run) = &self.0 {
            run.waiting.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        }
        self.flush().await;
    }

    /// Writes what waits. Lines that cannot be written are lost: they are no reason for a job to fail.
    pub async fn flush(&self) {
        let Some(run) = &self.0 else { return };
        if run.waiting.lock().unwrap_or_else(PoisonError::into_inner).taken > 0 {
            // Most runs say nothing, and need no room for what writes.
            Box::pin(run.flush()).await;
        }
    }
}

impl Run {
    async fn flush(&self) {
        let _writing = self.writing.lock().await;
        let lines = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.scheduled = false;
            std::mem::take(&mut waiting.lines)
        };
        if lines.is_empty() {
            return;
        }
        let written = match self.pool.get().await {
            Ok(mut conn) => write(&mut conn, self, &lines).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = written {
            tracing::warn!(job = %self.job, error, lines = lines.len(), "lines of a job's log are lost");
        }
    }
}

async fn write(conn: &mut Conn, run: &Run, lines: &[(DateTime<Utc>, Level, String)]) -> QueryResult<()> {
    // Once more if nothing was written: a job that ends in the handler's own transaction was found in `jobs` and was gone when
    // that transaction, which this waited for, had committed; its new place is seen by a new statement only.
    for _ in 0..2 {
        if insert(conn, run, lines).await? > 0 {
            break;
        }
    }
    Ok(())
}

/// Writes the lines if this claim of the job is its last. Its row is locked, lightly, until the lines are there: an erasure
/// either waits and then finds them, or came before, and is seen.
async fn insert(conn: &mut Conn, run: &Run, lines: &[(DateTime<Utc>, Level, String)]) -> QueryResult<usize> {
    waybill_schema::sql(
        "with live as materialized (
             select id from jobs where id = $1 and claim = $7 for key share),
         over as materialized (
             select id from job_history where id = $1 and claim = $7 and erased_at is null
                 and not exists (select from live) for share),
         dead as materialized (
             select id from dead_letters where id = $1 and claim = $7 and erased_at is null
                 and not exists (select from live) for share)
         insert into job_logs (job_id, attempt, at, level, line)
         select $1, $2, at, level, line
         from unnest($3, $4, $5) with ordinality as t(at, level, line, n)
         where n <= $6 - (select count(*) from job_logs where job_id = $1)
           and (exists (select from live) or exists (select from over) or exists (select from dead))
         order by n",
    )
    .bind::<SqlUuid, _>(run.job)
    .bind::<SmallInt, _>(run.attempt)
    .bind::<Array<Timestamptz>, _>(lines.iter().map(|line| line.0).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(lines.iter().map(|line| line.1.name()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(lines.iter().map(|line| line.2.as_str()).collect::<Vec<_>>())
    .bind::<BigInt, _>(MAX_LINES)
    .bind::<BigInt, _>(run.claim)
    .execute(conn)
    .await
}

/// The lines of a job after place `after`, in order. Whether the caller may read them is for the caller to know:
/// [`crate::status::follow`] asks.
pub async fn lines(conn: &mut Conn, job: Uuid, after: i64, limit: i64) -> QueryResult<Vec<LogLine>> {
    waybill_schema::sql(
        "select seq, at, attempt, level, line from job_logs where job_id = $1 and seq > $2 order by seq limit $3",
    )
    .bind::<SqlUuid, _>(job)
    .bind::<BigInt, _>(after)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

#[derive(QueryableByName)]
struct End {
    #[diesel(sql_type = SqlUuid)]
    job_id: Uuid,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// The places of the last lines of those of `jobs` that have any.
pub async fn ends(conn: &mut Conn, jobs: &[Uuid]) -> QueryResult<HashMap<Uuid, i64>> {
    let ends: Vec<End> = waybill_schema::sql(
        "select job_id, max(seq) as seq from job_logs where job_id = any($1) group by job_id",
    )
    .bind::<Array<SqlUuid>, _>(jobs)
    .load(conn)
    .await?;
    Ok(ends.into_iter().map(|end| (end.job_id, end.seq)).collect())
}
