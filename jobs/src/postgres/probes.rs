//! Which job tries whether a dependency is back.
//!
//! After its rest one held job at a time is let go, every five seconds. It must be one that can run, or the dependency would
//! stay down for good: not of a paused kind, the first of its partition key, and in a queue that is neither paused nor closed by
//! a limit and that some live worker serves. One that still does not run (its queue is full, perhaps, or was paused since)
//! has no advantage: when its time is over the next one is taken from another queue, if there is one.

use std::time::Duration;

use diesel::QueryResult;
use diesel::sql_types::Double;
use diesel_async::RunQueryDsl;
use waybill_schema::Conn;

use super::{claim::turn, holds::Row};

/// How long a job that tries has, before another one may.
const PROBE: Duration = Duration::from_secs(5);

/// Lets a job go for each dependency whose rest is over.
///
/// The queues are the workers' (some ten), so each is asked for its first: no step over the jobs of those that cannot run.
pub(super) async fn probes(conn: &mut Conn) -> QueryResult<Vec<Row>> {
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
         firsts as materialized (
             select d.name, f.id, f.turn, s.queue = (select b.queue from jobs b where b.id = d.probe_id and b.state = 'queued')
                 as tried
             from due d
             cross join served s
             cross join lateral (
                 select j.id, ",
        turn!(),
        " as turn from jobs j
                 where j.hold = 'needs:' || d.name and j.queue = s.queue
                   and j.kind <> all (array(select kind from kind_controls where paused_at is not null))
                   and (j.partition_key is null
                        or not exists (select from jobs b where b.partition_key = j.partition_key and b.id < j.id)
                           and not exists (select from jobs b
                                           where b.running_key = j.partition_key))
                 order by ",
        turn!(),
        ", id limit 1) f),
         probes as materialized (
             select distinct on (name) name, id from firsts order by name, coalesce(tried, false), turn, id),
         marked as (
             update dependencies d
             set probe_id = p.id, down_until = clock_timestamp() + $1 * interval '1 second', updated_at = clock_timestamp()
             from probes p where d.name = p.name
             returning p.id),
         let_go as (
             update jobs j set hold = null
             where j.id = any (array(select id from marked)) and j.state = 'queued' returning j.queue)
         select queue, count(*) as jobs from let_go group by queue"
    ))
    .bind::<Double, _>(PROBE.as_secs_f64())
    .load(conn)
    .await
}
