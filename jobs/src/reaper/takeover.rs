use std::{collections::HashSet, time::Duration};

use diesel::sql_types::{Array, BigInt, Bool, Double, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;
use waybill_schema::Conn;

use crate::postgres::{Entry, asked::end_lost, locked::locked, suspects};

/// What a sweep did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Workers whose lock had been free for the grace.
    pub died: Vec<Uuid>,
    /// Workers whose lease had run out, or whose row was gone.
    pub expired: Vec<Uuid>,
    /// Jobs put back into the queue.
    pub put_back: u64,
    /// Jobs moved to the dead letters.
    pub buried: u64,
    /// Jobs that had been asked to end, and now have, or are queued to be undone.
    pub cancelled: u64,
    /// Jobs that stay for now, because somebody has locked their rows.
    pub left: u64,
    /// The queues that got jobs back.
    pub queues: Vec<String>,
}

impl TakenOver {
    /// Whether a worker was taken for dead, or jobs of one were moved.
    pub fn is_any(&self) -> bool {
        !self.died.is_empty() || !self.expired.is_empty()
    }
}

#[derive(QueryableByName)]
struct Suspect {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Bool)]
    unlocked: bool,
    #[diesel(sql_type = Bool)]
    noted: bool,
    #[diesel(sql_type = Bool)]
    over: bool,
    #[diesel(sql_type = Bool)]
    expired: bool,
    #[diesel(sql_type = Bool)]
    orphaned: bool,
}

/// Who may be dead, by one statement's view of rows and locks.
///
/// An orphaned claim names a worker without a row: it was on its way when the row was taken. A worker's row is there before
/// its first claim, so no live worker looks like that.
async fn suspects(conn: &mut Conn, grace: Duration, orphans: bool) -> QueryResult<Vec<Suspect>> {
    waybill_schema::sql(
        "with held as materialized (
             select (classid::bigint << 32) | objid::bigint as key
             from pg_locks
             where locktype = 'advisory' and objsubid = 1 and granted
               and database = (select oid from pg_database where datname = current_database())),
         seen as (
             select id, lease_until, unlocked_at, lock_key <> 0 and lock_key not in (select key from held) as unlocked
             from workers)
         select id, unlocked, unlocked_at is not null as noted,
                unlocked and coalesce(unlocked_at < clock_timestamp() - $1 * interval '1 second', false) as over,
                lease_until < clock_timestamp() as expired, false as orphaned
         from seen
         where unlocked or unlocked_at is not null or lease_until < clock_timestamp()
         union all
         select worker_id, false, false, false, false, true
         from (select distinct worker_id from job_claims where $2) r
         where not exists (select from workers w where w.id = r.worker_id)",
    )
    .bind::<Double, _>(grace.as_secs_f64())
    .bind::<Bool, _>(orphans)
    .load(conn)
    .await
}

/// Looks for dead workers and takes their jobs over. Callers that find another one at it leave it to that one.
///
/// `orphans` says whether to look for jobs whose worker has no row as well, which costs a pass over all claims.
pub async fn sweep(conn: &mut Conn, grace: Duration, orphans: bool) -> QueryResult<TakenOver> {
    let seen = suspects(conn, grace, orphans).await?;
    if seen.is_empty() {
        return Ok(TakenOver::default());
    }
    // Committed by itself: the rows of those who live must not stay locked while jobs of the dead are moved.
    note(conn, &seen).await?;
    conn.transaction(async |conn| {
        // The number means nothing; it only has to be ours.
        let guard: Guard = waybill_schema::sql("select pg_try_advisory_xact_lock(7741920251122) as mine")
            .get_result(conn)
            .await?;
        if !guard.mine {
            return Ok(TakenOver::default());
        }
        // Once more, under the lock: the first look may be older than another one's sweep.
        let suspects = suspects(conn, grace, orphans).await?;
        take_over(conn, &suspects, grace).await
    })
    .await
}

#[derive(QueryableByName)]
struct Guard {
    #[diesel(sql_type = Bool)]
    mine: bool,
}

/// Writes down since when a lock is free. In the row, not in memory: whoever looks next goes on from there, and after a
/// restart of the database, which frees all locks at once, every worker has its grace.
async fn note(conn: &mut Conn, suspects: &[Suspect]) -> QueryResult<()> {
    let changed: Vec<_> = suspects.iter().filter(|s| !s.orphaned && s.unlocked != s.noted).collect();
    if changed.is_empty() {
        return Ok(());
    }
    waybill_schema::sql(
        "update workers w set unlocked_at = case when t.unlocked then clock_timestamp() end
         from unnest($1, $2) as t(id, unlocked)
         where w.id = t.id and (w.unlocked_at is null) = t.unlocked
           and w.id = any (array(select id from workers where id = any($1) for no key update skip locked))",
    )
    .bind::<Array<SqlUuid>, _>(changed.iter().map(|s| s.id).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(changed.iter().map(|s| s.unlocked).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map(drop)
}

#[derive(QueryableByName)]
struct Moved {
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = BigInt)]
    back: i64,
    #[diesel(sql_type = BigInt)]
    dead: i64,
}

async fn take_over(conn: &mut Conn, suspects: &[Suspect], grace: Duration) -> QueryResult<TakenOver> {
    let ids = |wanted: fn(&Suspect) -> bool| -> Vec<Uuid> {
        suspects.iter().filter(|s| wanted(s)).map(|s| s.id).collect()
    };
    let mut taken = TakenOver {
        died: ids(|s| s.over),
        expired: ids(|s| s.expired && !s.over || s.orphaned),
        ..TakenOver::default()
    };
    let workers: Vec<Uuid> = taken.died.iter().chain(&taken.expired).copied().collect();
    if workers.is_empty() {
        return Ok(taken);
    }
    // The rows first, on the conditions that made them suspects: a worker that has come back in between keeps its row, and
    // with it its jobs. From here on a heartbeat finds its row gone, or waits for this transaction and then finds it gone.
    let gone: Vec<Gone> = waybill_schema::sql(
        "delete from workers
         where id = any (array(select id from workers where id = any($1) for update skip locked))
           and (lease_until < clock_timestamp() or unlocked_at < clock_timestamp() - $2 * interval '1 second')
         returning id",
    )
    .bind::<Array<SqlUuid>, _>(&workers)
    .bind::<Double, _>(grace.as_secs_f64())
    .load(conn)
    .await?;
    let orphaned = ids(|s| s.orphaned);
    taken.died.retain(|id| gone.iter().any(|g| g.id == *id));
    taken.expired.retain(|id| orphaned.contains(id) || gone.iter().any(|g| g.id == *id));
    let workers: Vec<Uuid> = taken.died.iter().chain(&taken.expired).copied().collect();
    let (lost, left) = lost_jobs(conn, &workers).await?;
    for moved in move_jobs(conn, &workers, &orphaned, &lost).await? {
        taken.put_back += moved.back.unsigned_abs();
        taken.buried += moved.dead.unsigned_abs();
        if moved.back > 0 {
            taken.queues.push(moved.queue);
        }
    }
    taken.cancelled = end_asked(conn, &workers, &lost).await?;
    forget_claims(conn, &workers).await?;
    if gone.is_empty() && lost.is_empty() {
        return Ok(TakenOver { left, ..TakenOver::default() });
    }
    taken.left = left;
    report(&taken);
    Ok(taken)
}

#[derive(QueryableByName)]
struct Gone {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// The jobs of the dead, locked, and how many cannot be had: somebody else has locked them (the dead itself, by a session that the
/// server has not ended yet; whoever erases or looks). Those are left where they are, for nobody's jobs may wait for that: their claims
/// have no worker any more, by which the next look for orphans finds them.
async fn lost_jobs(conn: &mut Conn, workers: &[Uuid]) -> QueryResult<(Vec<Uuid>, u64)> {
    let lost: Vec<Gone> = waybill_schema::sql("select id from running_jobs where worker_id = any($1)")
        .bind::<Array<SqlUuid>, _>(workers)
        .load(conn)
        .await?;
    let mut lost: Vec<Uuid> = lost.into_iter().map(|job| job.id).collect();
    if lost.is_empty() {
        return Ok((lost, 0));
    }
    let locked: HashSet<Uuid> = locked(conn, &lost).await?.into_iter().collect();
    lost.retain(|id| !locked.contains(id));
    Ok((lost, locked.len() as u64))
}

/// One statement for all jobs of the dead. What a loss costs, and who waits how long, is said in [`suspects`].
async fn move_jobs(
    conn: &mut Conn,
    workers: &[Uuid],
    orphaned: &[Uuid],
    lost: &[Uuid],
) -> QueryResult<Vec<Moved>> {
    let free = suspects::free_of_charge(conn, workers, orphaned).await?;
    waybill_schema::sql(concat!(
        "with back as (
             update jobs j
             set state = 'queued', losses = j.losses + 1, hold = case when j.losses >= 1 then 'suspect' end,
                 max_attempts = case when j.id = any($2) then least(j.max_attempts + 1, 32767) else j.max_attempts end,
                 run_at = case when j.losses = 0 or j.id = any($2) then j.run_at
                     else clock_timestamp() + least(60, 2 ^ j.losses) * (0.75 + random() / 2) * interval '1 second' end,
                 worker_id = null, claimed_at = null,
                 failures = j.failures || jsonb_build_object('attempt', j.attempt, 'outcome', 'worker_lost',
                     'error', 'the worker ended without an answer', 'started_at', j.claimed_at,
                     'finished_at', clock_timestamp(), 'worker_id', j.worker_id)
             where j.id = any($3)
               and j.worker_id = any($1) and j.state = 'running' and (j.attempt < j.max_attempts or j.id = any($2))
               and (j.cancel is null or j.undo)
             returning j.queue),
         gone as (
             delete from jobs j
             where j.id = any($3)
               and j.worker_id = any($1) and j.state = 'running' and not (j.attempt < j.max_attempts or j.id = any($2))
               and (j.cancel is null or j.undo)
             returning j.*, jsonb_build_object('attempt', j.attempt, 'outcome', 'worker_lost',
                 'error', 'the worker ended without an answer', 'started_at', j.claimed_at,
                 'finished_at', clock_timestamp(), 'worker_id', j.worker_id) as entry),
         buried as (
             insert into dead_letters (",
        waybill_schema::job_columns!(),
        ",
                 failures, died_at, reason)
             select ",
        waybill_schema::job_columns!(),
        ",
                 failures || entry, clock_timestamp(), 'the last attempt lost its worker'
             from gone)
         select queue, count(*) filter (where back) as back, count(*) filter (where not back) as dead
         from (select queue, true as back from back union all select queue, false from gone) moved
         group by queue"
    ))
    .bind::<Array<SqlUuid>, _>(workers)
    .bind::<Array<SqlUuid>, _>(free)
    .bind::<Array<SqlUuid>, _>(lost)
    .load(conn)
    .await
}

/// Claims of the dead of which nothing runs any more. One that was on its way when their rows were taken stays: with its
/// jobs, which nobody has moved yet, and the next look for orphans finds it.
async fn forget_claims(conn: &mut Conn, workers: &[Uuid]) -> QueryResult<()> {
    waybill_schema::sql(
        "delete from job_claims c where worker_id = any($1)
           and not exists (select from running_jobs j where j.claim_batch = c.id)",
    )
    .bind::<Array<SqlUuid>, _>(workers)
    .execute(conn)
    .await
    .map(drop)
}

#[derive(QueryableByName)]
struct Asked {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = BigInt)]
    claim: i64,
}

/// The others: their runs were asked to end, and have.
async fn end_asked(conn: &mut Conn, workers: &[Uuid], lost: &[Uuid]) -> QueryResult<u64> {
    let rest: Vec<Asked> = waybill_schema::sql(
        "select id, claim from jobs
         where id = any($2) and worker_id = any($1) and state = 'running' and cancel is not null",
    )
    .bind::<Array<SqlUuid>, _>(workers)
    .bind::<Array<SqlUuid>, _>(lost)
    .load(conn)
    .await?;
    let rest: Vec<_> = rest.into_iter().map(|asked| (asked.id, asked.claim)).collect();
    let lost = Entry::new("worker_lost", "the worker ended without an answer");
    Ok(end_lost(conn, &rest, &lost).await?.len() as u64)
}

fn report(taken: &TakenOver) {
    for (why, workers) in [("died", &taken.died), ("expired", &taken.expired)] {
        if !workers.is_empty() {
            tracing::warn!(
                why,
                ?workers,
                put_back = taken.put_back,
                buried = taken.buried,
                left = taken.left,
                "workers taken for dead"
            );
        }
    }
    let why = if taken.died.is_empty() { "expired" } else { "died" };
    metrics::counter!("waybill_jobs_taken_over_total", "why" => why).increment(taken.put_back + taken.buried);
}
