//! An old and a new worker side by side, on the same queues: kinds and payloads that only one of them knows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use waybill_jobs::{
    Enqueue, Job, JobContext, Outcome, Registry, enqueue_all,
    kinds::Maintain,
    queues,
    runtime::{Worker, WorkerConfig},
};
use waybill_tests::{Plan, System};

use crate::{books::recovered, load::Load};

/// A kind that the binaries under test do not have.
#[derive(Serialize, Deserialize)]
struct Newcomer {
    n: i64,
}

impl Job for Newcomer {
    const KIND: &'static str = "test.newcomer";
    const QUEUE: &'static str = queues::HOUSEKEEPING;
}

/// A kind that they have, with arguments that they cannot read.
#[derive(Serialize, Deserialize)]
struct Changed {
    since_version_two: i64,
}

impl Job for Changed {
    const KIND: &'static str = Maintain::KIND;
    const QUEUE: &'static str = Maintain::QUEUE;
    const VERSION: i16 = Maintain::VERSION + 1;
}

const EACH: i64 = 10;
const OPEN: &str = "select count(*) as n from jobs
    where (kind = 'test.newcomer' or kind = 'housekeeping.maintain' and version = 2)";
const DONE: &str = "select count(*) as n from job_history
    where (kind = 'test.newcomer' or kind = 'housekeeping.maintain' and version = 2)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn a_new_version_is_deployed_beside_the_old() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(2)).await?;
    let mut load = Load::start(&system, 4).await?;
    load.confirmed(5).await?;

    enqueue(&system).await?;
    // The old workers put them aside, once, and spend nothing of them.
    let aside = format!("{OPEN} and hold like 'unknown:%' and snoozes = 1 and attempt = 0");
    system.until_count("the old workers to put aside what they do not know", &aside, 2 * EACH).await?;

    let ran = Arc::new([const { AtomicI64::new(0) }; 2]);
    let (new, old) = (Arc::clone(&ran), Arc::clone(&ran));
    let registry = Registry::new()
        .job::<Newcomer>(move |_: Newcomer, _: JobContext| {
            new[0].fetch_add(1, Ordering::Relaxed);
            async { Ok(Outcome::done()) }
        })
        .job::<Changed>(move |_: Changed, _: JobContext| {
            old[1].fetch_add(1, Ordering::Relaxed);
            async { Ok(Outcome::done()) }
        });
    let pool = waybill_schema::db::connect(&system.database_url, 4, Duration::from_secs(10)).await?;
    let config = WorkerConfig {
        service: "newer".to_owned(),
        queues: vec![(queues::HOUSEKEEPING.to_owned(), 32)],
        ..WorkerConfig::default()
    };
    let stop = CancellationToken::new();
    let worker = Worker::new(system.database_url.as_str(), pool, registry, config);
    let deployed = Instant::now();
    let running = tokio::spawn(worker.run(stop.clone()));

    system.until_count("the new worker to run what waited for it", OPEN, 0).await?;
    println!(
        "what only the new version knows was done {:.2} s after its start",
        deployed.elapsed().as_secs_f64()
    );

    // The deploy goes on, and some are old again that come: beside them the new one has all that is its own, at once.
    for _ in 0..2 {
        let mut leaving = system.workers.remove(0);
        ensure!(leaving.stop().await?, "{}", leaving.log());
        system.add_worker(&[]).await?;
        enqueue(&system).await?;
    }
    load.confirmed(10).await?;
    system.until_count("the new worker to run what came since", OPEN, 0).await?;
    let over = Instant::now();
    let ran: Vec<i64> = ran.iter().map(|n| n.load(Ordering::Relaxed)).collect();
    ensure!(ran == [3 * EACH, 3 * EACH], "{ran:?}");
    let done = format!("{DONE} and attempt = 1");
    ensure!(system.count(&done).await? == 6 * EACH, "an attempt was spent by a worker that could not run it");
    let aside = format!("{DONE} and snoozes > 0");
    ensure!(system.count(&aside).await? == 2 * EACH, "an old worker took what was the new one's");
    stop.cancel();
    running.await??;
    recovered(&system, load, "old and new workers side by side", over).await
}

/// What only the new version knows.
async fn enqueue(system: &System) -> anyhow::Result<()> {
    let conn = system.connection().await?;
    let newcomers: Vec<_> = (0..EACH).map(|n| Newcomer { n }).collect();
    enqueue_all(&conn, newcomers.iter().map(|job| (job, Enqueue::default()))).await?;
    let changed: Vec<_> = (0..EACH).map(|n| Changed { since_version_two: n }).collect();
    enqueue_all(&conn, changed.iter().map(|job| (job, Enqueue::default()))).await?;
    Ok(())
}
