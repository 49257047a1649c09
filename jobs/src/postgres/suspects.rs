//! Jobs that may be what kills their workers.
//!
//! When a process dies, everything that ran in it is lost, and one of those jobs may be why. Charged to all, an attempt a time,
//! a job that kills every process it runs in would take its neighbours to the dead letters with it. So:
//!
//! * A loss costs an attempt only where there is nobody else to blame: the job ran alone, or it was the only suspect.
//!   Any other is given back, by an attempt more, up to [`FREE`] times a job, so that it ends in any case.
//! * After its first loss a job is queued at once: most processes die of something else.
//! * From the second on it is a suspect, held as `suspect`. Of each queue one is let go at a time, the next when that one has
//!   ended, whatever its end, or has lived for [`SUSPECT_ALONE`]. Whoever kills again was then the only suspect there, pays for it, and
//!   waits 2, 4, ... 60 s; the others run through and are cleared.
//!
//! Without suspects this costs one look at an index a quarter of a second. With them a queue clears some tens a second.

use diesel::sql_types::{Array, BigInt, Bool, Double, Integer, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;
use waybill_schema::{Conn, system::jobs::waits::SUSPECT_ALONE};

use super::claim::turn;

/// Losses of a job that may be somebody else's fault. Each takes a process; by the sixteenth there is something to look at.
const FREE: i32 = 16;

#[derive(QueryableByName)]
struct Job {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// Those of the dead workers' jobs whose loss costs no attempt. Of `orphaned` ones only what an earlier take-over has left is there
/// to be seen, so that nobody can tell what else they ran.
pub(crate) async fn free_of_charge(
    conn: &mut Conn,
    workers: &[Uuid],
    orphaned: &[Uuid],
) -> QueryResult<Vec<Uuid>> {
    let jobs: Vec<Job> = waybill_schema::sql(
        "select id
         from (select r.id, r.worker_id, j.losses, count(*) over w as jobs, count(*) filter (where j.losses >= 2) over w as suspects
               from running_jobs r join jobs j on j.id = r.id
               where r.worker_id = any($1) window w as (partition by r.worker_id)) lost
         where (worker_id = any($3) or not (jobs = 1 or losses >= 2 and suspects = 1)) and losses < $2",
    )
    .bind::<Array<SqlUuid>, _>(workers)
    .bind::<Integer, _>(FREE)
    .bind::<Array<SqlUuid>, _>(orphaned)
    .load(conn)
    .await?;
    Ok(jobs.into_iter().map(|job| job.id).collect())
}

/// What a round of letting go came to.
#[derive(Debug, Default)]
pub struct Released {
    /// The queues that got a job.
    pub queues: Vec<String>,
    /// Suspects are held, and the next one may soon be let go.
    pub waiting: bool,
}

#[derive(QueryableByName)]
struct Look {
    #[diesel(sql_type = Bool)]
    held: bool,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = BigInt)]
    jobs: i64,
}

/// Lets the next suspect of each queue go that has none on its way. Any number of callers may do so: one at a time does.
pub async fn release(conn: &mut Conn) -> QueryResult<Released> {
    let look: Look = waybill_schema::sql(
        "select exists (select from jobs where hold = 'suspect' and run_at <= clock_timestamp()) as held",
    )
    .get_result(conn)
    .await?;
    if !look.held {
        return Ok(Released::default());
    }
    conn.transaction(async |conn| {
        // The number means nothing; it only has to be ours.
        let guard: Look = waybill_schema::sql("select pg_try_advisory_xact_lock(7741920251124) as held")
            .get_result(conn)
            .await?;
        if !guard.held {
            return Ok(Released { waiting: true, ..Released::default() });
        }
        // A statement after the lock: it sees what the round before has let go.
        let rows = next_ones(conn).await?;
        let queues = rows.into_iter().filter(|row| row.jobs > 0).map(|row| row.queue).collect();
        Ok(Released { queues, waiting: true })
    })
    .await
}

/// One on its way is queued and may be claimed, or runs; a follower of its partition key cannot be claimed, and does not keep
/// the head of its key waiting. Jobs of a kind that is paused stay where they are.
async fn next_ones(conn: &mut Conn) -> QueryResult<Vec<Row>> {
    waybill_schema::sql(concat!(
        "with recursive queues as (
             (select queue from jobs where hold = 'suspect' order by queue limit 1)
             union all
             select (select j.queue from jobs j where j.hold = 'suspect' and j.queue > q.queue order by j.queue limit 1)
             from queues q where q.queue is not null),
         clear as materialized (
             select queue from queues q
             where queue is not null
               and not exists (
                 select from jobs s
                 where s.queue = q.queue and s.losses >= 2 and s.hold is null
                   and (s.state = 'running' and s.claimed_at > clock_timestamp() - $1 * interval '1 second'
                        or s.state = 'queued'
                           and (s.partition_key is null
                                or not exists (select from jobs b
                                               where b.partition_key = s.partition_key and b.id < s.id))))),
         let_go as (
             update jobs set hold = null
             where ctid = any (array(
                 select n.ctid from clear c
                 cross join lateral (
                     select ctid from jobs j
                     where j.hold = 'suspect' and j.queue = c.queue and j.run_at <= clock_timestamp()
                       and j.kind <> all (array(select kind from kind_controls where paused_at is not null))
                       and (j.partition_key is null
                            or not exists (select from jobs b where b.partition_key = j.partition_key and b.id < j.id))
                     order by ",
        turn!(),
        ", id limit 1 for no key update skip locked) n))
             returning queue)
         select queue, count(*) as jobs from let_go group by queue"
    ))
    .bind::<Double, _>(SUSPECT_ALONE)
    .load(conn)
    .await
}
