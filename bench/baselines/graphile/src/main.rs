//! `graphile_worker` 0.14, the fastest job platform on Postgres that was found: local queues, completions in batches, and the
//! recovery of dead workers' jobs, which is off by default.

#[path = "../../../src/program.rs"]
mod program;

use std::time::Duration;

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, WorkerContext, WorkerContextExt as _,
    WorkerOptions, WorkerUtils,
};
use program::{Mode, Platform, Runs, Work};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, postgres::PgPoolOptions};

const SCHEMA: &str = "graphile_worker";

#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Bench(Work);

impl TaskHandler for Bench {
    const IDENTIFIER: &'static str = "bench";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        match context.get_ext::<Runs>() {
            Some(runs) => {
                runs.run(&self.0).await;
                Ok(())
            }
            None => Err("nobody counts".to_owned()),
        }
    }
}

struct Graphile {
    pool: PgPool,
    utils: WorkerUtils,
}

impl Platform for Graphile {
    async fn open(url: &str, connections: u32) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(connections).connect(url).await?;
        Ok(Self { utils: WorkerUtils::new(pool.clone(), SCHEMA), pool })
    }

    async fn setup(&self) -> anyhow::Result<()> {
        Ok(self.utils.migrate().await?)
    }

    async fn enqueue(&self, work: Work) -> anyhow::Result<()> {
        self.utils.add_job(Bench(work), JobSpec::default()).await?;
        Ok(())
    }

    async fn enqueue_all(&self, works: Vec<Work>, _: Mode) -> anyhow::Result<()> {
        let spec = JobSpec::default();
        let jobs: Vec<_> = works.into_iter().map(|work| (Bench(work), &spec)).collect();
        self.utils.add_jobs(&jobs).await?;
        Ok(())
    }

    async fn work(self, _: &str, concurrency: usize, runs: Runs) -> anyhow::Result<()> {
        let local = LocalQueueConfig::builder().size(500).queue_count(2).build();
        let worker = WorkerOptions::default()
            .schema(SCHEMA)
            .concurrency(concurrency.min(64))
            .poll_interval(Duration::from_millis(500))
            .local_queue(local)
            .complete_job_batch_delay(Duration::from_millis(2))
            .heartbeat_interval(Duration::from_secs(1))
            .sweep_interval(Duration::from_secs(1))
            .sweep_threshold(Duration::from_secs(3))
            .recovery_delay(Duration::ZERO)
            .add_extension(runs)
            .pg_pool(self.pool)
            .define_job::<Bench>()
            .init()
            .await?;
        Ok(worker.run().await?)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    program::run::<Graphile>(&arguments).await
}
