//! Why a job that waits does not run.

use chrono::{DateTime, Utc};
use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Double, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

/// Seconds after which a suspect that still runs no longer keeps the next one waiting: imports take an hour.
pub const SUSPECT_ALONE: f64 = 30.0;

crate::text_enum! {
    /// What a job waits for.
    pub enum Reason {
        /// Its time: it was enqueued for later, or waits for its next attempt.
        NotDue = "not_due",
        /// Somebody to resume its queue.
        QueuePaused = "queue_paused",
        /// Somebody to resume its kind.
        KindPaused = "kind_paused",
        /// Something outside that is down.
        DependencyDown = "dependency_down",
        /// The job in front of it in its partition key.
        Partition = "partition",
        /// Room in the limits of its limit key.
        KeyLimit = "key_limit",
        /// Room in the limits of its queue.
        QueueLimit = "queue_limit",
        /// A worker that serves its queue: none that lives does.
        NoWorker = "no_worker",
        /// A worker of another release: none that serves its queue knows its kind in its version.
        Unknown = "unknown",
        /// Its turn to show whether it is what ends its workers: it ran in two that died.
        Suspect = "suspect",
        /// A place: jobs are in front of it.
        Turn = "turn",
    }
}

/// One thing that a job waits for.
#[derive(Debug, Clone, QueryableByName)]
pub struct WaitsFor {
    /// What.
    #[diesel(sql_type = Text)]
    pub reason: Reason,
    /// Which: why it is paused, the dependency's name, the key, the kind and version that nobody knows.
    #[diesel(sql_type = Nullable<Text>)]
    pub detail: Option<String>,
    /// The job in front; of a suspect, the one that is tried before it.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub job_id: Option<Uuid>,
    /// Until when at least, where that is known.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub until: Option<DateTime<Utc>>,
    /// Jobs in front of it, counted up to 1,000.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub ahead: Option<i64>,
}

/// Everything that a scheduled or queued job waits for, as the claim sees it; nothing for one that runs or is over. Of one that is
/// not held back by anything it says how many are in front, if any are.
pub async fn waits_for(conn: &mut Conn, id: Uuid) -> QueryResult<Vec<WaitsFor>> {
    sql("with j as materialized (
             select id, kind, version, queue, priority, state, run_at, hold, partition_key, limit_key, losses
             from jobs where id = $1 and state <> 'running'),
         c as materialized (select c.* from queue_controls c join j on j.queue = c.queue),
         bars as (
             select 1 as place, 'not_due' as reason, null::text as detail, null::uuid as job_id, run_at as until
             from j where state = 'scheduled'
             union all
             select 2, 'queue_paused', nullif(pause_reason, ''), null, null from c where paused_at is not null
             union all
             select 3, 'kind_paused', nullif(k.pause_reason, ''), null, null
             from kind_controls k join j on j.kind = k.kind where k.paused_at is not null
             union all
             select 4, 'dependency_down', d.name, d.probe_id, d.down_until
             from dependencies d join j on d.probe_id is distinct from j.id
             where d.down_since is not null
               and (j.hold = 'needs:' || d.name
                    or exists (select from kind_needs n where n.dependency = d.name and n.kind = j.kind))
             union all
             select 5, 'partition', j.partition_key, f.id, null
             from j cross join lateral (
                 (select b.id, 0 as runs from jobs b
                  where b.running_key = j.partition_key and b.id <> j.id limit 1)
                 union all
                 (select b.id, 1 from jobs b where b.partition_key = j.partition_key and b.id < j.id
                  order by b.partition_key, b.id limit 1)
                 order by runs limit 1) f
             union all
             select 6, 'key_limit', j.limit_key, null, null from j where j.hold = 'key'
             union all
             select 7, 'queue_limit',
                    case when c.max_running <= r.running then r.running || ' of ' || c.max_running || ' run'
                         else c.rate || ' may start in ' || c.rate_period || ' s' end, null, null
             from c cross join lateral (
                 select count(*) as running from running_jobs q
                 where q.queue = c.queue and c.max_running is not null) r
             where c.max_running <= r.running
                or c.tokens + greatest(0, extract(epoch from clock_timestamp() - c.filled_at)) * c.rate / c.rate_period < 1
             union all
             select 8, 'no_worker', j.queue, null, null
             from j where not exists (
                 select from workers w
                 where w.lease_until > clock_timestamp() and w.state = 'running' and j.queue = any(w.queues))
             union all
             select 9, 'unknown',
                    'needs a worker of ' || j.queue || ' that knows ' || j.kind || ' in version ' || j.version || '; '
                        || coalesce((select string_agg(said, ', ' order by said) from (
                               select distinct 'release ' || w.version || case
                                   when j.queue <> all(w.queues) then ' knows it and does not serve ' || j.queue
                                   when k.kind is null then ' does not know the kind'
                                   else ' reads up to version ' || k.version end as said
                               from workers w left join worker_kinds k on k.worker_id = w.id and k.kind = j.kind
                               where w.lease_until > clock_timestamp() and w.state = 'running'
                                 and (j.queue = any(w.queues) or k.version >= j.version)) n), 'no worker lives'),
                    null, null
             from j where j.hold like 'unknown:%'
             union all
             select 10, 'suspect', j.losses || ' workers ended while it ran; such jobs run one at a time', f.id,
                    case when j.run_at > clock_timestamp() then j.run_at end
             from j left join lateral (
                 (select s.id, 0 as place, -extract(epoch from s.claimed_at) as turn
                  from jobs s
                  where s.queue = j.queue and s.losses >= 2 and s.state = 'running'
                    and s.claimed_at > clock_timestamp() - $2 * interval '1 second')
                 union all
                 (select s.id, 1, 0 from jobs s
                  where s.queue = j.queue and s.losses >= 2 and s.state = 'queued' and s.hold is null
                    and (s.partition_key is null
                         or not exists (select from jobs b where b.partition_key = s.partition_key and b.id < s.id)))
                 union all
                 (select s.id, 2, extract(epoch from s.run_at) + s.priority * 60
                  from jobs s
                  where s.queue = j.queue and s.hold = 'suspect' and s.run_at <= clock_timestamp()
                    and s.kind <> all (array(select kind from kind_controls where paused_at is not null))
                    and (s.partition_key is null
                         or not exists (select from jobs b where b.partition_key = s.partition_key and b.id < s.id)))
                 order by place, turn, id limit 1) f on f.id <> j.id
             where j.hold = 'suspect'),
         ahead as (
             select (select count(*) from (
                        select from jobs b
                        where b.queue = j.queue and b.due and b.state = 'queued' and b.hold is null
                          and ((b.run_at at time zone 'UTC') + b.priority * interval '1 minute')
                              < ((j.run_at at time zone 'UTC') + j.priority * interval '1 minute')
                        limit 1000) n) as ahead
             from j where not exists (select from bars))
         select reason, detail, job_id, until, null::bigint as ahead, place from bars
         union all
         select 'turn', null, null, null, ahead, 11 from ahead where ahead > 0
         order by place")
    .bind::<SqlUuid, _>(id)
    .bind::<Double, _>(SUSPECT_ALONE)
    .load(conn)
    .await
}
