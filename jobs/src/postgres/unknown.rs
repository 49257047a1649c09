//! Jobs that not every worker knows: kinds and versions of another release.
//!
//! Each worker writes down what its code can run, and the database works out, when one comes or goes, what each lacks that
//! another one of the same queue has (`worker_gaps`). Claims leave that to the other: an idle worker that knows a job has it at
//! once, however many look at the queue that do not. A job that no live worker of its queue knows is claimed by whoever meets
//! it first, which finds out, and is held until one comes that knows it (see [`super::holds`]).

use diesel::QueryResult;
use diesel::sql_types::{Array, BigInt, SmallInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;
use waybill_schema::Conn;

use super::claim::Claimed;

/// Whether worker `$2` is one to run a job `j` of queue `$1`. Neither array depends on the job. The first is made once a claim and
/// is empty while all workers are alike; the second, with the versions that it does read, only if it meets one of the others.
macro_rules! known {
    () => {
        "(j.kind <> all (array(select kind from worker_gaps where worker_id = $2 and queue = $1))
          or j.kind || ':' || j.version = any (array(
                 select g.kind || ':' || v from worker_gaps g cross join generate_series(1, g.version) v
                 where g.worker_id = $2 and g.queue = $1)))"
    };
}

/// Whether the reason of a hold `h` is gone, as far as it is one of these: some live worker of its queue knows what nobody knew.
/// `unknown:2:mail.send` is a job of that kind in version 2.
macro_rules! known_by_now {
    () => {
        "(h.hold not like 'unknown:%'
          or exists (select from worker_kinds k join workers w on w.id = k.worker_id
                     where h.queue = any (w.queues) and h.hold = 'unknown:' || split_part(h.hold, ':', 2) || ':' || k.kind
                       and k.version >= case when h.hold like 'unknown:%'
                                             then split_part(h.hold, ':', 2)::integer end))"
    };
}

pub(crate) use {known, known_by_now};

/// Writes down the kinds that a worker can run, each with the highest version that it reads; before its first claim. Does
/// nothing for a worker whose row is gone.
pub async fn know(conn: &mut Conn, worker: Uuid, kinds: &[(&'static str, i16)]) -> QueryResult<()> {
    waybill_schema::sql(
        "insert into worker_kinds (worker_id, kind, version)
         select w.id, t.kind, t.version from workers w cross join unnest($2, $3) as t(kind, version) where w.id = $1
         on conflict (worker_id, kind) do update set version = excluded.version",
    )
    .bind::<SqlUuid, _>(worker)
    .bind::<Array<Text>, _>(kinds.iter().map(|known| known.0).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(kinds.iter().map(|known| known.1).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map(drop)
}

/// Holds a claimed job until a worker is there that knows it; its attempt is given back and it keeps its place. `false`, and
/// nothing is changed, if somebody wants it to end, or it is no longer ours.
pub(crate) async fn set_aside(conn: &mut Conn, job: &Claimed, reason: &str) -> QueryResult<bool> {
    waybill_schema::sql(
        "update jobs
         set state = 'queued', hold = 'unknown:' || version || ':' || kind, worker_id = null, claimed_at = null,
             attempt = attempt - 1, snoozes = snoozes + 1,
             failures = (case when jsonb_array_length(failures) >= 50 then failures - 0 else failures end)
                 || jsonb_build_object('attempt', attempt, 'outcome', 'snoozed', 'error', $3,
                     'started_at', claimed_at, 'finished_at', clock_timestamp(), 'worker_id', worker_id)
         where id = $1 and claim = $2 and state = 'running' and (cancel is null or undo)",
    )
    .bind::<SqlUuid, _>(job.id)
    .bind::<BigInt, _>(job.claim)
    .bind::<Text, _>(reason)
    .execute(conn)
    .await
    .map(|changed| changed == 1)
}
