//! Running jobs in the test's own task, one after the other, with the rules of a worker.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_schema::Pool;

use crate::{
    context::JobContext,
    contract::{Job, JobResult},
    enqueue::enqueue,
    flows,
    postgres::{Claimed, claim, completer::write_one},
    registry::Registry,
    runtime::judge_inline,
};

/// A job that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The job.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// `done`, `retried`, `snoozed`, `cancelled`, `discarded` or `dead`.
    pub outcome: &'static str,
    /// What the handler failed with.
    pub error: Option<String>,
}

/// Writes the row of a worker without a process, so that jobs can be claimed in its name; it lives for an hour.
pub async fn register(pool: &Pool) -> Uuid {
    serve(pool, &[]).await
}

/// [`register`] for a worker that says which queues it serves, as real ones do.
pub async fn serve(pool: &Pool, queues: &[&str]) -> Uuid {
    let id = waybill_schema::new_id();
    waybill_schema::sql(
        "insert into workers (id, service, host, pid, version, lock_key, lease_until, queues)
         values ($1, 'test', 'test', 0, 'test', 0, now() + interval '1 hour', $2)",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<Array<Text>, _>(queues)
    .execute(&mut pool.get().await.unwrap())
    .await
    .unwrap();
    id
}

/// Runs the jobs of a queue, and those that they enqueue there, until none can run now. Retries wait for their time and
/// are left.
pub async fn drain(pool: &Pool, registry: &Registry, queue: &str) -> Vec<Ran> {
    let worker = serve(pool, &[queue]).await;
    let mut ran = Vec::new();
    loop {
        let claimed = claim(&mut pool.get().await.unwrap(), queue, worker, 1).await.unwrap();
        let Some(job) = claimed.into_iter().next() else { break };
        ran.push(run(pool, registry, job).await);
    }
    waybill_schema::sql("delete from workers where id = $1")
        .bind::<SqlUuid, _>(worker)
        .execute(&mut pool.get().await.unwrap())
        .await
        .unwrap();
    ran
}

/// [`drain`] for every queue in which jobs wait, looking after batches and workflows as a worker does, until nothing is left
/// that can run now.
pub async fn drain_all(pool: &Pool, registry: &Registry) -> Vec<Ran> {
    let mut ran = Vec::new();
    loop {
        let before = ran.len();
        for queue in registry.queues() {
            ran.extend(drain(pool, registry, queue).await);
        }
        let followed = flows::sweep(&mut pool.get().await.unwrap()).await.unwrap();
        if ran.len() == before && followed.is_empty() {
            return ran;
        }
    }
}

/// Moves the clock to `time` as far as jobs can tell: those that were to run up to then can run now. The database's own clock
/// is nobody's to freeze, so what handlers read of it is still the present. Returns how many became due.
pub async fn advance_to(pool: &Pool, time: DateTime<Utc>) -> usize {
    waybill_schema::sql(
        "update jobs set state = 'queued', run_at = clock_timestamp() where state = 'scheduled' and run_at <= $1",
    )
    .bind::<Timestamptz, _>(time)
    .execute(&mut pool.get().await.unwrap())
    .await
    .unwrap()
}

/// Runs a handler on a job that is in no queue, and answers with what it said: nothing is retried, and no outcome is stored.
/// The job exists while it runs, so that the handler may guard it, finish it, or report progress.
pub async fn run_inline<J: Job>(pool: &Pool, registry: &Registry, job: &J) -> JobResult {
    let id = enqueue(&pool.get().await.unwrap(), job).await.unwrap();
    let claimed = claim_one(pool, id).await;
    let entry = registry.get(J::KIND).unwrap_or_else(|| panic!("kind {} is not registered", J::KIND));
    let context = JobContext::new(&claimed, pool, CancellationToken::new());
    let result = entry.run(claimed.payload, context).await;
    waybill_schema::sql("delete from jobs where id = $1")
        .bind::<SqlUuid, _>(id)
        .execute(&mut pool.get().await.unwrap())
        .await
        .unwrap();
    result
}

/// Runs one job that waits, whether its time has come or not.
pub async fn run_one(pool: &Pool, registry: &Registry, id: Uuid) -> Ran {
    let claimed = claim_one(pool, id).await;
    run(pool, registry, claimed).await
}

async fn claim_one(pool: &Pool, id: Uuid) -> Claimed {
    waybill_schema::sql(
        "with taken as (
             update jobs
             set state = 'running', worker_id = $2, claimed_at = clock_timestamp(),
                 attempt = attempt + 1, claim = claim + 1, hold = null, claim_batch = nextval('job_claims_id_seq')
             where id = $1 and state <> 'running'
             returning *, ctid),
         noted as (
             insert into job_claims (id, worker_id, queue, ids) select claim_batch, $2, queue, array[id] from taken)
         select id, kind, version, priority, run_at, claimed_at, attempt, max_attempts, snoozes, claim,
                partition_key, correlation_id, traceparent, payload, created_at, limit_key, flow_id, step, undo,
                scheduled, claim_batch, ctid
         from taken",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<SqlUuid, _>(waybill_schema::new_id())
    .get_result(&mut pool.get().await.unwrap())
    .await
    .unwrap_or_else(|error| panic!("job {id} does not wait: {error}"))
}

async fn run(pool: &Pool, registry: &Registry, job: Claimed) -> Ran {
    let entry = registry.get(&job.kind).unwrap_or_else(|| panic!("kind {} is not registered", job.kind));
    let context = JobContext::new(&job, pool, CancellationToken::new());
    let result = entry.run(job.payload, context).await;
    let error = result.as_ref().err().map(|failure| failure.message.clone());
    let (outcome, resolution) = judge_inline(job.attempt, job.max_attempts, entry.policy, result);
    if let Some(resolution) = resolution {
        let kept = write_one(&mut pool.get().await.unwrap(), job.id, job.claim, resolution).await.unwrap();
        assert!(kept, "job {} was taken away while it ran", job.id);
    }
    Ran { id: job.id, kind: job.kind, outcome, error }
}
