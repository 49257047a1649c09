//! How fast jobs that do nothing run. Not a test of correctness, so it only runs when asked for:
//! `cargo test --release -p waybill-jobs --test postgres_lane drain_rate -- --ignored --nocapture`

use std::time::{Duration, Instant};

use waybill_jobs::{
    Outcome,
    runtime::WorkerConfig,
    testing::{TestDatabase, until},
};

use crate::rig::{Mortal, Probe, config, put_many, registry};

const JOBS: i64 = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn drain_rate_of_two_workers() {
    let db = TestDatabase::create().await;
    for _ in 0..JOBS / 1_000 {
        put_many(&db, &vec![Probe::default(); 1_000]).await;
    }
    db.execute("vacuum analyze jobs").await;
    let settings = WorkerConfig { queues: vec![("test".to_owned(), 500)], claim_batch: 500, ..config() };
    let started = Instant::now();
    let workers: Vec<_> = (0..2)
        .map(|_| Mortal::start(&db, registry(async |_, _| Ok(Outcome::done())), settings.clone()))
        .collect();
    until("all have run", || async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        db.count("select count(*) as n from (select from jobs limit 1) j").await == 0
    })
    .await;
    let took = started.elapsed();
    drop(workers);
    assert_eq!(db.count("select count(*) as n from job_history where state = 'done'").await, JOBS);
    #[allow(clippy::cast_precision_loss)]
    let rate = JOBS as f64 / took.as_secs_f64();
    println!("{JOBS} jobs in {took:?}: {rate:.0} jobs/s");
}
