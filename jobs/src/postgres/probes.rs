//! Which job tries whether a dependency is back.
//!
//! After its rest one held job at a time is let go, every five seconds. It must be one that can run, or the dependency would
//! stay down for good: not of a paused kind, the first of its partition key, and in a queue that is neither paused nor closed by
//! a limit and that some live worker serves. One that still does not run (its queue is full, perhaps, or was paused since)
//! has no advantage: when its time is over the next one is taken from another queue, if there is one.
//!
//! Only the front of each queue's hold is looked at, four times a second by each worker. If nobody there can run, what keeps
//! them lasts, and they are held for that instead: with 100,000 of a paused kind in front the way is clear after a hundred
//! looks, and each of them was met once.

use std::time::Duration;

use diesel::sql_types::{BigInt, Bool, Double, Text};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use waybill_schema::Conn;

use super::{claim::turn, holds::CROWD};

/// How long a job that tries has, before another one may.
const PROBE: Duration = Duration::from_secs(5);
/// Held jobs of a dependency and a queue looked at in one statement.
const FRONT: i64 = 1_000;

/// Jobs of a queue that were let go, or held for something else.
#[derive(QueryableByName)]
pub(super) struct Probed {
    #[diesel(sql_type = Text)]
    pub queue: String,
    #[diesel(sql_type = Bool)]
    pub let_go: bool,
}

/// Lets a job go for each dependency whose rest is over. Where nobody at the front can try, those there are held for what keeps
/// them from it: their kind is paused, or another of their partition key is in front.
///
/// The queues are the workers' (some ten), so each is asked for its first: no step over the jobs of those that cannot run. A
/// follower is held as in [`super::holds::hold_followers`]: only while the first of its key cannot leave.
pub(super) async fn probes(conn: &mut Conn) -> QueryResult<Vec<Probed>> {
    waybill_schema::sql(concat!(
        "with due as materialized (
             select name, probe_id from dependencies
             where down_since is not null and down_until <= clock_timestamp() for no key update skip locked),
         served as materialized (
             select distinct q.queue
             from workers w
             cross join unnest(w.queues) as q(queue)
             where exists (select from due) and w.state = 'running' and w.lease_until > clock_timestamp()
               and not exists (select from queue_controls c
                               where c.queue = q.queue and (c.paused_at is not null or c.max_running = 0))
               and coalesce((select p.places from queue_places p
                             where p.queue = q.queue
                               and p.worker_id in (w.id, '00000000-0000-0000-0000-000000000000')
                             order by p.worker_id = w.id desc limit 1), 1) > 0),
         front as materialized (
             select d.name, s.queue, f.id, f.partition_key, f.turn,
                    f.kind = any (array(select kind from kind_controls where paused_at is not null)) as paused
             from due d
             cross join served s
             cross join lateral (
                 select j.id, j.kind, j.partition_key, ",
        turn!(),
        " as turn from jobs j
                 where j.hold = 'needs:' || d.name and j.queue = s.queue
                 order by ",
        turn!(),
        ", id limit $2) f),
         firsts as materialized (
             select d.name, f.id, f.turn, s.queue = (select b.queue from jobs b where b.id = d.probe_id and b.state = 'queued')
                 as tried
             from due d
             cross join served s
             cross join lateral (
                 -- In order, so that the look ends at the first that can.
                 select h.id, h.turn
                 from (select * from front where name = d.name and queue = s.queue order by turn, id offset 0) h
                 where not h.paused
                   and (h.partition_key is null
                        or not exists (select from jobs b where b.partition_key = h.partition_key and b.id < h.id)
                           and not exists (select from jobs b
                                           where b.running_key = h.partition_key))
                 limit 1) f),
         probes as materialized (
             select distinct on (name) name, id from firsts order by name, coalesce(tried, false), turn, id),
         free as materialized (
             -- Whoever has one locked may be waiting for the row of its dependency, which is ours: the next look finds it again.
             select j.id, j.hold from jobs j
             where j.id = any (array(select id from probes)) and j.state = 'queued' and j.hold like 'needs:%'
             for no key update skip locked),
         marked as (
             update dependencies d
             set probe_id = p.id, down_until = clock_timestamp() + $1 * interval '1 second', updated_at = clock_timestamp()
             from probes p join free f on f.id = p.id where d.name = p.name and f.hold = 'needs:' || p.name
             returning p.id),
         let_go as (
             update jobs j set hold = null
             where j.id = any (array(select id from marked)) and j.state = 'queued' returning j.queue),
         stuck as materialized (
             select id, partition_key, paused from front where name <> all (array(select name from probes))),
         followers as materialized (
             select f.id, b.id as first
             from stuck f
             cross join lateral (select b.id from jobs b where b.partition_key = f.partition_key
                                 order by b.partition_key, b.id limit 1) b
             where not f.paused and f.partition_key is not null and b.id < f.id),
         heads as materialized (
             select b.id from jobs b where b.id = any (array(select distinct first from followers))
             for key share skip locked),
         locked as materialized (
             select j.id, case when m.paused then 'kind:' || j.kind else 'partition' end as hold
             from (select id, true as paused from stuck where paused
                   union all
                   select f.id, false from heads s join followers f on f.first = s.id) m
             join jobs j on j.id = m.id
             where j.state = 'queued' and j.hold like 'needs:%' and (select count(*) from stuck) >= $3
             for no key update of j skip locked),
         held as (
             update jobs j set hold = l.hold from locked l where j.id = l.id returning j.queue)
         select queue, true as let_go from let_go
         union
         select queue, false from held"
    ))
    .bind::<Double, _>(PROBE.as_secs_f64())
    .bind::<BigInt, _>(FRONT)
    .bind::<BigInt, _>(CROWD)
    .load(conn)
    .await
}
