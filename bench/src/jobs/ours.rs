//! Waybill's own platform as `bench jobs` sees it.

use std::time::Duration;

use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use waybill_jobs::{
    Enqueue, Failure, Job, JobContext, JobResult, Notifier, Outcome, Registry, enqueue, enqueue_all,
    runtime::{Worker, WorkerConfig},
};
use waybill_schema::{Conn, Pool};

use crate::program::{Mode, Platform, Runs, Work};

const QUEUE: &str = "bench";

/// A job that is over with the worker's answer.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Plain(Work);

impl Job for Plain {
    const KIND: &'static str = "bench.plain";
    const QUEUE: &'static str = QUEUE;
}

/// A job that is over with the handler's own transaction.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Trivial(Work);

impl Job for Trivial {
    const KIND: &'static str = "bench.trivial";
    const QUEUE: &'static str = QUEUE;
}

/// Waybill.
pub struct Ours {
    url: String,
    pool: Pool,
    notifier: Notifier,
}

impl Platform for Ours {
    async fn open(url: &str, connections: u32) -> anyhow::Result<Self> {
        // One more, for the hints: they must not wait for a caller.
        let pool = waybill_schema::db::connect(url, connections + 1, Duration::from_secs(10)).await?;
        let notifier = Notifier::start(pool.clone());
        Ok(Self { url: url.to_owned(), pool, notifier })
    }

    async fn setup(&self) -> anyhow::Result<()> {
        waybill_schema::db::migrate(&self.url).await?;
        let mut conn = self.pool.get().await?;
        conn.batch_execute("create table bench_effects (n bigint not null)").await?;
        Ok(())
    }

    async fn enqueue(&self, work: Work) -> anyhow::Result<()> {
        let conn = self.pool.get().await?;
        // One statement, so the transaction is its own, as it is for the others.
        enqueue(&conn, &Plain(work)).await?;
        drop(conn);
        self.notifier.hint(QUEUE);
        Ok(())
    }

    async fn enqueue_all(&self, works: Vec<Work>, mode: Mode) -> anyhow::Result<()> {
        let conn = self.pool.get().await?;
        if mode == Mode::Tx {
            let jobs: Vec<_> = works.into_iter().map(Trivial).collect();
            enqueue_all(&conn, jobs.iter().map(|job| (job, Enqueue::default()))).await?;
        } else {
            let jobs: Vec<_> = works.into_iter().map(Plain).collect();
            enqueue_all(&conn, jobs.iter().map(|job| (job, Enqueue::default()))).await?;
        }
        Ok(())
    }

    async fn work(self, url: &str, concurrency: usize, runs: Runs) -> anyhow::Result<()> {
        let config = WorkerConfig {
            service: "bench".to_owned(),
            queues: vec![(QUEUE.to_owned(), concurrency)],
            claim_batch: 500,
            ..WorkerConfig::default()
        };
        let plain = runs.clone();
        let registry = Registry::new()
            .job::<Plain>(move |job: Plain, _: JobContext| {
                let runs = plain.clone();
                async move {
                    runs.run(&job.0).await;
                    Ok(Outcome::done())
                }
            })
            .job::<Trivial>(move |job: Trivial, context: JobContext| {
                let runs = runs.clone();
                async move { trivial(&job.0, &context, &runs).await }
            });
        Worker::new(url, self.pool, registry, config).run(CancellationToken::new()).await?;
        Ok(())
    }
}

/// `Failure` is no error, so that every error can become one; a transaction wants one to roll back with.
struct Undone(Failure);

impl From<diesel::result::Error> for Undone {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.into())
    }
}

/// One row, in the transaction that completes the job.
async fn trivial(work: &Work, context: &JobContext, runs: &Runs) -> JobResult {
    let mut conn = context.pool.get().await?;
    let conn: &mut Conn = &mut conn;
    let n = i64::try_from(work.n)?;
    let written = conn
        .transaction(async |conn: &mut Conn| {
            // Neither needs the other's answer, so both go out together; the claim that is lost rolls back both.
            let row = async {
                waybill_schema::sql("insert into bench_effects values ($1)")
                    .bind::<BigInt, _>(n)
                    .execute(&mut &*conn)
                    .await
                    .map_err(Undone::from)
            };
            let finished = async { context.finish(conn, None).await.map_err(Undone) };
            let (_, finished) = futures::try_join!(row, finished)?;
            Ok::<_, Undone>(finished)
        })
        .await;
    let finished = written.map_err(|undone| undone.0)?;
    runs.run(work).await;
    Ok(Outcome::Finished(finished))
}
