//! Taking jobs that cannot run out of the claims' way, and letting them go.
//!
//! A claim checks by itself whether a job may run, so nothing here decides that: a hold only keeps claims from stepping over
//! the same 100,000 jobs of a paused kind, or of one busy partition key, each time. Every job is held once and let go once.
//!
//! | hold | let go when |
//! |---|---|
//! | `kind:...` | the kind is no longer paused |
//! | `needs:...` | the dependency is up; one at a time, to try, after its rest (see [`super::probes`]) |
//! | `key` | its limit key has room: the claim itself takes it (see `limited`); or the queue has no such limit any more |
//! | `unknown:...` | a worker is there that knows its kind in its version (see [`super::unknown`]) |
//! | `partition` | the job in front of it in its key leaves: a trigger on `jobs`, or [`let_go`] where two leave at once |
//! | `suspect` | its turn has come to show whether it kills its workers: the reaper (see [`super::suspects`]) |

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use waybill_schema::Conn;

use super::{claim::turn, probes::probes, unknown::known_by_now};

/// Ready jobs looked at in one statement.
const HEAD: i64 = 2_000;
/// Followers are held only if there are as many: a few are cheaper stepped over than held and let go.
pub(super) const CROWD: i64 = 100;
/// Jobs of one hold let go in one statement.
const GO: i64 = 2_000;
/// Partition keys looked at in one statement.
const LOOKS: i64 = 1_000;

/// Holds ready jobs at the front of a queue whose kind is paused, or needs what is down; answers with how many.
pub async fn hold_kinds(conn: &mut Conn, queue: &str) -> QueryResult<usize> {
    waybill_schema::sql(concat!(
        "with reasons as materialized (
             select kind, 'kind:' || kind as hold, null::uuid as probe_id from kind_controls where paused_at is not null
             union all
             select n.kind, 'needs:' || d.name, d.probe_id
             from dependencies d join kind_needs n on n.dependency = d.name where d.down_since is not null),
         head as materialized (
             select id, kind from jobs
             where queue = $1 and due and state = 'queued' and hold is null and exists (select from reasons)
             order by ",
        turn!(),
        ", id limit $2),
         met as (
             select h.id, min(r.hold) as hold
             from head h join reasons r on r.kind = h.kind
             where r.hold like 'kind:%' or not exists (select from reasons p where p.probe_id = h.id) group by h.id),
         locked as materialized (
             select j.id, m.hold from met m join jobs j on j.id = m.id
             where j.state = 'queued' and j.hold is null for no key update of j skip locked)
         update jobs j set hold = l.hold from locked l where j.id = l.id"
    ))
    .bind::<Text, _>(queue)
    .bind::<BigInt, _>(HEAD)
    .execute(conn)
    .await
}

/// Holds ready jobs at the front of a queue that another job of their partition key is in front of, if there is a crowd of
/// them; answers with how many.
///
/// Each is held only while the job in front of all in its key is locked against deletion: its completion, which lets the
/// next one go, either comes later and sees the hold, or came before, and then nothing is held for it. Nothing here waits
/// for a lock.
pub async fn hold_followers(conn: &mut Conn, queue: &str) -> QueryResult<usize> {
    waybill_schema::sql(concat!(
        "with head as materialized (
             select id, partition_key from jobs
             where queue = $1 and due and state = 'queued' and hold is null
             order by ",
        turn!(),
        ", id limit $2),
         followers as materialized (
             select h.id, f.id as first
             from head h
             cross join lateral (select b.id from jobs b where b.partition_key = h.partition_key
                                 order by b.partition_key, b.id limit 1) f
             where h.partition_key is not null and f.id < h.id),
         firsts as materialized (
             select b.id from jobs b
             where b.id = any (array(select distinct first from followers))
               and (select count(*) from followers) >= $3
             for key share skip locked),
         locked as materialized (
             select j.id from firsts s join followers f on f.first = s.id join jobs j on j.id = f.id
             where j.state = 'queued' and j.hold is null for no key update of j skip locked)
         update jobs j set hold = 'partition' from locked l where j.id = l.id"
    ))
    .bind::<Text, _>(queue)
    .bind::<BigInt, _>(HEAD)
    .bind::<BigInt, _>(CROWD)
    .execute(conn)
    .await
}

/// Jobs of a queue that were let go.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = BigInt)]
    jobs: i64,
}

/// What was let go.
#[derive(Debug, Default)]
pub struct LetGo {
    /// The queues that got jobs.
    pub queues: Vec<String>,
    /// There are probably more.
    pub more: bool,
}

impl LetGo {
    fn add(&mut self, rows: Vec<Row>) {
        self.more |= rows.iter().map(|row| row.jobs).sum::<i64>() >= GO;
        self.queues.extend(rows.into_iter().map(|row| row.queue));
    }
}

/// Lets go what is held for a reason that is gone, a job for each dependency whose rest is over, and the next ones of the
/// partition keys whose trigger could not tell. Any number of callers may do so at once.
pub async fn let_go(conn: &mut Conn) -> QueryResult<LetGo> {
    let mut gone = LetGo::default();
    gone.add(reasons_gone(conn).await?);
    for probed in probes(conn).await? {
        if probed.let_go {
            gone.queues.push(probed.queue);
        } else {
            gone.more = true;
        }
    }
    gone.add(looks(conn).await?);
    Ok(gone)
}

/// The reasons in use are few, and so are their queues; they are found by skipping from one to the next. So many of each at a
/// time: a queue with 100,000 of them does not keep the others waiting.
async fn reasons_gone(conn: &mut Conn) -> QueryResult<Vec<Row>> {
    waybill_schema::sql(concat!(
        "with recursive holds as (
             (select hold, queue from jobs where hold is not null order by hold, queue limit 1)
             union all
             select n.hold, n.queue
             from holds h
             cross join lateral (select j.hold, j.queue from jobs j
                                 where j.hold is not null and (j.hold, j.queue) > (h.hold, h.queue)
                                 order by j.hold, j.queue limit 1) n),
         free as materialized (
             select hold, queue from holds h
             where hold not in ('partition', 'suspect')
               and not exists (select from kind_controls c where h.hold = 'kind:' || c.kind and c.paused_at is not null)
               and not exists (select from dependencies d
                               where h.hold = 'needs:' || d.name and d.down_since is not null)
               and (hold <> 'key'
                    or not exists (select from queue_controls c where c.queue = h.queue and c.key_limited))
               and ",
        known_by_now!(),
        "),
         let_go as (
             update jobs set hold = null
             where ctid = any (array(
                 select w.ctid from free f
                 cross join lateral (select ctid from jobs j where j.hold = f.hold and j.queue = f.queue
                                     order by ",
        turn!(),
        ", id limit $1 for no key update skip locked) w))
             returning queue)
         select queue, count(*) as jobs from let_go group by queue"
    ))
    .bind::<BigInt, _>(GO)
    .load(conn)
    .await
}

/// Lets the first of a partition key go where the trigger could not tell who that is. A key whose first job is locked against
/// deletion by nobody is as it seems, and is looked at no more; another is about to change.
async fn looks(conn: &mut Conn) -> QueryResult<Vec<Row>> {
    waybill_schema::sql(
        "with noted as materialized (
             select id, partition_key from partition_looks order by id limit $1 for update skip locked),
         firsts as materialized (
             select n.partition_key, (select b.id from jobs b where b.partition_key = n.partition_key
                                      order by b.partition_key, b.id limit 1) as id
             from (select distinct partition_key from noted) n),
         steady as materialized (
             select j.id, j.hold, j.partition_key from firsts f join jobs j on j.id = f.id
             for no key update of j skip locked),
         let_go as (
             update jobs j set hold = null from steady s where j.id = s.id and s.hold = 'partition' returning j.queue),
         looked as (
             delete from partition_looks
             where id = any (array(
                 select n.id from noted n join firsts f on f.partition_key = n.partition_key
                 where f.id is null or f.partition_key in (select partition_key from steady))))
         select queue, count(*) as jobs from let_go group by queue",
    )
    .bind::<BigInt, _>(LOOKS)
    .load(conn)
    .await
}

/// Puts right what the quick ways may leave: followers that nobody let go, by whatever accident; slots and buckets whose time
/// is over. For every few seconds.
pub async fn tidy(conn: &mut Conn) -> QueryResult<()> {
    waybill_schema::sql(
        "with recursive keys as (
             (select partition_key from jobs where hold = 'partition' order by partition_key limit 1)
             union all
             select (select j.partition_key from jobs j where j.hold = 'partition' and j.partition_key > k.partition_key
                     order by j.partition_key limit 1)
             from keys k where k.partition_key is not null)
         update jobs j set hold = null
         where ctid = any (array(
             select h.ctid from jobs h
             where h.hold = 'partition' and h.id = any (array(
                 select (select b.id from jobs b where b.partition_key = k.partition_key
                         order by b.partition_key, b.id limit 1)
                 from keys k where k.partition_key is not null))
             for no key update skip locked))",
    )
    .execute(conn)
    .await?;
    waybill_schema::sql(
        "delete from job_uniques
         where ctid = any (array(select ctid from job_uniques where scope = 'window' and until < clock_timestamp()
                                 order by until limit 1000 for update skip locked))",
    )
    .execute(conn)
    .await?;
    // An hour is longer than any bucket of sense takes to fill; one that takes longer keeps its row by the second term.
    waybill_schema::sql(
        "delete from limit_key_buckets
         where ctid = any (array(
             select ctid from limit_key_buckets b
             where filled_at < clock_timestamp() - interval '1 hour'
               and not exists (
                 select from queue_controls c
                 where c.queue = b.queue
                   and b.filled_at + c.key_rate_period * c.key_rate_burst / c.key_rate * interval '1 second'
                       > clock_timestamp())
             order by filled_at limit 1000 for update skip locked))",
    )
    .execute(conn)
    .await
    .map(drop)
}
