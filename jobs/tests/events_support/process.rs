//! A process of the deployment, as a runtime of its own: dropping the runtime is as sudden as a kill.

use std::{sync::Arc, time::Duration};

use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::RunQueryDsl;
use tokio::{runtime::Runtime, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_jobs::{
    Pipeline,
    events_lane::{Events, EventsConfig, PipelineSpec},
    postgres::{Hints, Notifier},
};
use waybill_schema::Pool;

pub struct Process {
    runtime: Option<Runtime>,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
    hints: watch::Receiver<Option<Hints>>,
    /// The name it claims jobs in.
    pub worker: Uuid,
}

impl Process {
    /// Starts one that serves `pipelines`, in a deployment of `routes`.
    pub fn start(
        url: &str,
        config: EventsConfig,
        routes: Vec<PipelineSpec>,
        pipelines: Vec<Arc<dyn Pipeline>>,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let shutdown = CancellationToken::new();
        let worker = waybill_schema::new_id();
        let (url, stop) = (url.to_owned(), shutdown.clone());
        let (told, hints) = watch::channel(None);
        let running = runtime.spawn(async move {
            let pool = waybill_schema::db::connect(&url, 8, Duration::from_secs(5)).await.unwrap();
            register(&pool, worker).await;
            tokio::spawn(promote(pool.clone()));
            let (_sender, identity) = watch::channel(Some(worker));
            let notifier = Notifier::start(pool.clone());
            told.send_replace(Some(notifier.hints().clone()));
            let events = Events::new(url, pool, routes, pipelines, config).with_notifier(notifier);
            events.run(identity, stop).await;
        });
        Self { runtime: Some(runtime), shutdown, running: Some(running), hints, worker }
    }

    /// What it tells the others of its process.
    pub async fn hints(&self) -> Hints {
        let mut hints = self.hints.clone();
        hints.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }

    /// Asks it to stop; the rest is awaited by [`stopped`](Self::stopped).
    pub fn ask_to_stop(&self) {
        self.shutdown.cancel();
    }

    /// Until it has stopped.
    pub async fn stopped(mut self) {
        self.running.take().unwrap().await.unwrap();
    }

    /// Stops it in an orderly way.
    pub async fn stop(self) {
        self.ask_to_stop();
        self.stopped().await;
    }

    /// Kills it.
    pub fn kill(mut self) -> Uuid {
        self.runtime.take().unwrap().shutdown_background();
        self.worker
    }
}

/// The row that a process which claims has, and that its runtime keeps alive. A test may restart the database before it is
/// there, so it is tried as the runtime would.
async fn register(pool: &Pool, worker: Uuid) {
    let sql = "insert into workers (id, service, host, pid, version, lock_key, lease_until)
         values ($1, 'test', 'test', 1, '0', 0, now() + interval '1 day') on conflict do nothing";
    waybill_jobs::testing::until("the worker is registered", || async {
        let Ok(mut conn) = pool.get().await else { return false };
        waybill_schema::sql(sql).bind::<SqlUuid, _>(worker).execute(&mut conn).await.is_ok()
    })
    .await;
}

/// What every worker does for all queues: jobs whose backoff is over become ready.
async fn promote(pool: Pool) {
    loop {
        if let Ok(mut conn) = pool.get().await {
            let _ = waybill_jobs::postgres::promote::promote(&mut conn).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
