//! Jobs, databases and workers for the tests.

use std::{sync::Arc, time::Duration};

use diesel_async::AsyncConnection;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_jobs::{
    Enqueue, Job, JobContext, JobResult, Policy, Registry, enqueue_with,
    runtime::{Worker, WorkerConfig},
    status::{self, JobView},
    testing::{TestDatabase, until_some},
};

pub const QUEUE: &str = "test";

/// A job that does what its test says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub n: i64,
    pub key: Option<String>,
}

impl Job for Probe {
    const KIND: &'static str = "test.probe";
    const QUEUE: &'static str = QUEUE;
    const POLICY: Policy = Policy {
        max_attempts: 3,
        backoff: Duration::from_millis(20),
        backoff_cap: Duration::from_millis(100),
        timeout: Duration::from_secs(30),
    };

    fn partition_key(&self) -> Option<String> {
        self.key.clone()
    }
}

pub fn registry<F, Fut>(handler: F) -> Registry
where
    F: Fn(Probe, JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = JobResult> + Send + 'static,
{
    Registry::new().job::<Probe>(handler)
}

/// Quick to notice what a worker takes seconds for.
pub fn config() -> WorkerConfig {
    WorkerConfig {
        queues: vec![(QUEUE.to_owned(), 8)],
        heartbeat: Duration::from_millis(200),
        lease: Duration::from_secs(10),
        grace: Duration::from_millis(500),
        reap_every: Duration::from_millis(50),
        shutdown_deadline: Duration::from_secs(20),
        cancel_grace: Duration::from_millis(200),
        ..WorkerConfig::default()
    }
}

pub async fn put(db: &TestDatabase, probe: &Probe) -> Uuid {
    put_with(db, probe, Enqueue::default()).await
}

pub async fn put_with(db: &TestDatabase, probe: &Probe, options: Enqueue) -> Uuid {
    db.conn().await.transaction(async |conn| enqueue_with(conn, probe, options).await).await.unwrap()
}

pub async fn put_many(db: &TestDatabase, probes: &[Probe]) -> Vec<Uuid> {
    db.conn()
        .await
        .transaction(async |conn| {
            waybill_jobs::enqueue_all(conn, probes.iter().map(|probe| (probe, Enqueue::default()))).await
        })
        .await
        .unwrap()
}

pub async fn view(db: &TestDatabase, id: Uuid) -> JobView {
    status::find(&mut *db.conn().await, id).await.unwrap().unwrap_or_else(|| panic!("no job {id}"))
}

/// The job once it is in `state`.
pub async fn when(db: &TestDatabase, id: Uuid, state: &str) -> JobView {
    until_some(&format!("job {id} is {state}"), || async {
        let found = status::find(&mut *db.pool().get().await.ok()?, id).await.ok()??;
        (found.state == state).then_some(found)
    })
    .await
}

/// What the job's history says of its attempts.
pub fn outcomes(view: &JobView) -> Vec<String> {
    view.failures
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["outcome"].as_str().unwrap().to_owned())
        .collect()
}

/// A running worker.
pub struct Rig {
    pub shutdown: CancellationToken,
    pub identity: watch::Receiver<Option<Uuid>>,
    task: JoinHandle<()>,
}

impl Rig {
    pub fn start(db: &TestDatabase, registry: Registry, config: WorkerConfig) -> Self {
        let worker = Worker::new(db.url(), db.pool().clone(), registry, config);
        let identity = worker.identity();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let task = tokio::spawn(async move { worker.run(token).await.unwrap() });
        Self { shutdown, identity, task }
    }

    pub async fn id(&mut self) -> Uuid {
        self.identity.wait_for(Option::is_some).await.unwrap().unwrap()
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// A worker in a runtime of its own, which can die as a process does: at once, with all its connections.
pub struct Mortal {
    runtime: Option<tokio::runtime::Runtime>,
}

impl Mortal {
    pub fn start(db: &TestDatabase, registry: Registry, config: WorkerConfig) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url: Arc<str> = db.url().into();
        runtime.spawn(async move {
            let pool = waybill_schema::db::connect(&url, 4, Duration::from_secs(5)).await.unwrap();
            Worker::new(url, pool, registry, config).run(CancellationToken::new()).await.unwrap();
        });
        Self { runtime: Some(runtime) }
    }

    pub fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
