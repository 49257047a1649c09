//! `apalis-sql` 0.7 on Postgres, the last stable one of its line: with notifications, a buffer of 500, and dead workers given
//! up after three seconds. It has no way to push many at once; its table is filled with the statement it uses for one.

#[path = "../../../src/program.rs"]
mod program;

use std::time::Duration;

use apalis::prelude::*;
use apalis_sql::{
    Config,
    postgres::{PgListen, PgPool, PostgresStorage},
    sqlx::{self, postgres::PgPoolOptions},
};
use program::{Mode, Platform, Runs, Work};

const QUEUE: &str = "bench";

struct Apalis {
    pool: PgPool,
}

fn config(buffer: usize) -> Config {
    Config::new(QUEUE)
        .set_buffer_size(buffer)
        .set_poll_interval(Duration::from_millis(50))
        .set_keep_alive(Duration::from_secs(1))
        .set_reenqueue_orphaned_after(Duration::from_secs(3))
}

impl Platform for Apalis {
    async fn open(url: &str, connections: u32) -> anyhow::Result<Self> {
        Ok(Self { pool: PgPoolOptions::new().max_connections(connections).connect(url).await? })
    }

    async fn setup(&self) -> anyhow::Result<()> {
        Ok(PostgresStorage::setup(&self.pool).await?)
    }

    async fn enqueue(&self, work: Work) -> anyhow::Result<()> {
        let mut storage = PostgresStorage::<Work>::new_with_config(self.pool.clone(), config(500));
        storage.push(work).await?;
        Ok(())
    }

    async fn enqueue_all(&self, works: Vec<Work>, _: Mode) -> anyhow::Result<()> {
        let jobs = works.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
        sqlx::query(
            "insert into apalis.jobs
             select job, '0' || upper(left(replace(gen_random_uuid()::text, '-', ''), 25)), $2, 'Pending', 0, 25, now(), null, null, null, null, 0
             from unnest($1::jsonb[]) as t(job)",
        )
        .bind(jobs)
        .bind(QUEUE)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn work(self, _: &str, concurrency: usize, runs: Runs) -> anyhow::Result<()> {
        let mut storage = PostgresStorage::<Work>::new_with_config(self.pool.clone(), config(concurrency));
        let mut listener = PgListen::new(self.pool.clone()).await?;
        listener.subscribe_with(&mut storage);
        tokio::spawn(listener.listen());
        let worker = WorkerBuilder::new(format!("bench-{}", std::process::id()))
            .concurrency(concurrency)
            .data(runs)
            .backend(storage)
            .build_fn(handle);
        Monitor::new().register(worker).run().await?;
        Ok(())
    }
}

async fn handle(work: Work, runs: Data<Runs>) -> Result<(), Error> {
    runs.run(&work).await;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    program::run::<Apalis>(&arguments).await
}
