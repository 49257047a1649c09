//! `apalis-postgres` 1.0, with notifications, claims in batches of 500, and dead workers given up after three seconds.

#[path = "../../../src/program.rs"]
mod program;

use std::time::Duration;

use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage};
use program::{Mode, Platform, Runs, Work};
use sqlx::{PgPool, postgres::PgPoolOptions};

const QUEUE: &str = "bench";

struct Apalis {
    pool: PgPool,
}

impl Apalis {
    async fn push(&self, works: &[Work]) -> anyhow::Result<()> {
        let tasks = works
            .iter()
            .map(|work| Ok(TaskBuilder::new(serde_json::to_vec(work)?).build()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut conn = self.pool.acquire().await?;
        apalis_postgres::queries::push_tasks(&mut *conn, QUEUE, tasks).await?;
        Ok(())
    }
}

impl Platform for Apalis {
    async fn open(url: &str, connections: u32) -> anyhow::Result<Self> {
        Ok(Self { pool: PgPoolOptions::new().max_connections(connections).connect(url).await? })
    }

    async fn setup(&self) -> anyhow::Result<()> {
        Ok(PostgresStorage::<()>::setup(&self.pool).await?)
    }

    async fn enqueue(&self, work: Work) -> anyhow::Result<()> {
        self.push(&[work]).await
    }

    async fn enqueue_all(&self, works: Vec<Work>, _: Mode) -> anyhow::Result<()> {
        self.push(&works).await
    }

    async fn work(self, _: &str, concurrency: usize, runs: Runs) -> anyhow::Result<()> {
        // Its future cannot be shown to be `Send`, so it has a thread of its own; the handlers are spawned.
        let here = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || here.block_on(serve(self.pool, concurrency, runs))).await?
    }
}

async fn serve(pool: PgPool, concurrency: usize, runs: Runs) -> anyhow::Result<()> {
    let config = Config::default()
        .queue(QUEUE)
        .batch_size(concurrency)
        .heartbeat_interval(Duration::from_secs(1))
        .missed_heartbeats(3);
    let backend = PostgresStorage::<Work>::new(&pool).with_config(config).with_pubsub();
    // Its name is the key of what it holds: two processes must differ.
    let worker = WorkerBuilder::new(format!("bench-{}", std::process::id()))
        .backend(backend)
        .parallelize(tokio::spawn)
        .data(runs)
        .build(handle);
    Ok(worker.run().await?)
}

async fn handle(work: Work, runs: Data<Runs>) -> Result<(), BoxDynError> {
    runs.run(&work).await;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    program::run::<Apalis>(&arguments).await
}
