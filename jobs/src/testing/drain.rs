//! Running jobs in the test's own task, one after the other, with the rules of a worker: timeouts, panics, retries.

use std::collections::HashMap;

use diesel::sql_types::{Array, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_schema::Pool;

use super::clock;
use crate::{
    context::JobContext,
    contract::{Job, JobResult},
    enqueue::enqueue,
    flows,
    logs::Logs,
    postgres::{Claimed, Resolution, claim, outcomes::write_one},
    registry::Registry,
    runtime,
};

/// Runs of one job in a drain, after which it will not end any more: real policies have some ten attempts.
const RUNS_OF_A_JOB: usize = 100;
/// Runs in a drain: a job that enqueues the next one for ever is a new job each time.
const RUNS: usize = 10_000;

/// A job that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The job.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// `done`, `retried`, `snoozed`, `cancelled`, `discarded` or `dead`.
    pub outcome: &'static str,
    /// What it failed with, or why it wants another try.
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

/// Keeps a drain from going on for ever.
#[derive(Default)]
struct Bound {
    of_job: HashMap<Uuid, usize>,
    runs: usize,
}

impl Bound {
    fn count(&mut self, ran: &Ran) {
        let Ran { id, kind, outcome, error } = ran;
        let runs = self.of_job.entry(*id).or_default();
        *runs += 1;
        self.runs += 1;
        assert!(
            *runs <= RUNS_OF_A_JOB,
            "{kind} {id} is not over after {RUNS_OF_A_JOB} runs, and never waits; at last it was {outcome}: {error:?}"
        );
        assert!(
            self.runs <= RUNS,
            "after {RUNS} runs there is still more to do; the last was of {kind}: {outcome}"
        );
    }
}

/// Runs the jobs of a queue, and those that they enqueue there, until none can run now. Retries wait for their time and
/// are left; with a clock that stands still, for its time. A panic is a failed attempt, as in a worker: look at the outcomes.
/// Panics if it finds no end.
pub async fn drain(pool: &Pool, registry: &Registry, queue: &str) -> Vec<Ran> {
    drain_within(pool, registry, queue, &mut Bound::default()).await
}

async fn drain_within(pool: &Pool, registry: &Registry, queue: &str, bound: &mut Bound) -> Vec<Ran> {
    let worker = serve(pool, &[queue]).await;
    let mut ran = Vec::new();
    loop {
        if registry.clock().is_frozen() {
            clock::due(pool, registry.clock()).await;
        }
        let claimed = claim(&mut pool.get().await.unwrap(), queue, worker, 1).await.unwrap();
        let Some(job) = claimed.into_iter().next() else { break };
        ran.push(run(pool, registry, job).await);
        bound.count(&ran[ran.len() - 1]);
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
    let mut bound = Bound::default();
    loop {
        let before = ran.len();
        for queue in registry.queues() {
            ran.extend(drain_within(pool, registry, queue, &mut bound).await);
        }
        let followed = flows::sweep(&mut pool.get().await.unwrap()).await.unwrap();
        if ran.len() == before && followed.is_empty() {
            return ran;
        }
    }
}

/// Runs a handler on a job that is in no queue, and answers with what it said: nothing is retried, and no outcome is stored.
/// The job exists while it runs, so that the handler may guard it, finish it, or report progress.
pub async fn run_inline<J: Job>(pool: &Pool, registry: &Registry, job: &J) -> JobResult {
    let id = enqueue(&pool.get().await.unwrap(), job).await.unwrap();
    let claimed = claim_one(pool, id).await;
    let entry = registry.get(J::KIND).unwrap_or_else(|| panic!("kind {} is not registered", J::KIND));
    let logs = Logs::new(id, claimed.attempt, claimed.claim, pool);
    let (context, payload) = JobContext::of(claimed, pool, registry.clock(), CancellationToken::new(), logs);
    let result = entry.run(payload, context).await;
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
    let clock = registry.clock();
    let cancel = CancellationToken::new();
    let (id, claim, kind, attempt) = (job.id, job.claim, job.kind.clone(), (job.attempt, job.max_attempts));
    let logs = Logs::new(id, job.attempt, claim, pool);
    let (context, payload) = JobContext::of(job, pool, clock, cancel.clone(), logs);
    let work = entry.run(payload, context);
    let (outcome, resolution) = runtime::attempt(work, attempt, entry.policy, &cancel).await;
    let (mut error, mut waits) = (None, None);
    match &resolution {
        Some(Resolution::Back { delay, entry, .. }) => {
            error = entry.as_ref().filter(|_| outcome == "retried").map(|entry| entry.error.clone());
            waits = Some(*delay).filter(|delay| !delay.is_zero());
        }
        Some(Resolution::Dead { entry, .. }) => error = Some(entry.error.clone()),
        _ => {}
    }
    if let Some(resolution) = resolution {
        let kept = write_one(&mut pool.get().await.unwrap(), id, claim, resolution).await.unwrap();
        assert!(kept, "job {id} was taken away while it ran");
    }
    if let Some(delay) = waits.filter(|_| clock.is_frozen()) {
        clock::put_back(pool, clock, id, delay).await;
    }
    Ran { id, kind, outcome, error }
}
