use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_jobs::{
    Enqueue, Job, control,
    control::{Limits, Rate},
    postgres::{Claimed, claim, complete::complete_done},
    testing::{TestDatabase, register, until},
};

use crate::rig::{Probe, QUEUE, Rig, config, put_many, registry};

/// Counts by its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Keyed {
    key: String,
}

impl Job for Keyed {
    const KIND: &'static str = "test.keyed";
    const QUEUE: &'static str = QUEUE;

    fn limit_key(&self) -> Option<String> {
        Some(self.key.clone())
    }
}

async fn put_keyed(db: &TestDatabase, key: &str, jobs: usize) {
    let jobs = vec![Keyed { key: key.to_owned() }; jobs];
    waybill_jobs::enqueue_all(&*db.conn().await, jobs.iter().map(|job| (job, Enqueue::default())))
        .await
        .unwrap();
}

async fn limit(db: &TestDatabase, limits: Limits) {
    control::set_limits(&mut *db.conn().await, QUEUE, &limits, "op").await.unwrap();
}

async fn take(db: &TestDatabase, worker: Uuid, limit: usize) -> Vec<Claimed> {
    claim(&mut *db.conn().await, QUEUE, worker, limit).await.unwrap()
}

async fn finish(db: &TestDatabase, jobs: &[Claimed]) {
    let jobs: Vec<_> = jobs.iter().map(|job| (job.id, job.claim)).collect();
    complete_done(&mut *db.conn().await, &jobs, &vec![None; jobs.len()]).await.unwrap();
}

fn by_key(jobs: &[Claimed]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for job in jobs {
        *counts.entry(job.limit_key.as_deref().unwrap_or("")).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_run_at_a_time_than_the_queue_allows_however_many_claim() {
    let db = TestDatabase::create().await;
    put_many(&db, &vec![Probe::default(); 100]).await;
    limit(&db, Limits { max_running: Some(7), ..Limits::default() }).await;
    let claimers: Vec<_> = (0..6)
        .map(|_| {
            let pool = db.pool().clone();
            tokio::spawn(async move {
                let worker = register(&pool).await;
                claim(&mut pool.get().await.unwrap(), QUEUE, worker, 5).await.unwrap()
            })
        })
        .collect();
    let mut running = Vec::new();
    for claimer in claimers {
        running.extend(claimer.await.unwrap());
    }
    assert_eq!(running.len(), 7);
    let worker = register(db.pool()).await;
    assert!(take(&db, worker, 5).await.is_empty());
    finish(&db, &running[..3]).await;
    assert_eq!(take(&db, worker, 5).await.len(), 3);
    limit(&db, Limits::default()).await;
    assert_eq!(take(&db, worker, 50).await.len(), 50, "no limit any more");
}

#[tokio::test]
async fn a_key_at_its_limit_does_not_stop_the_others() {
    let db = TestDatabase::create().await;
    put_keyed(&db, "busy", 3_000).await;
    for key in ["a", "b", "c"] {
        put_keyed(&db, key, 4).await;
    }
    put_many(&db, &vec![Probe::default(); 3]).await;
    limit(&db, Limits { max_per_key: Some(2), ..Limits::default() }).await;
    let worker = register(db.pool()).await;
    let mut running = Vec::new();
    for _ in 0..5 {
        running.extend(take(&db, worker, 50).await);
    }
    assert_eq!(by_key(&running), HashMap::from([("busy", 2), ("a", 2), ("b", 2), ("c", 2), ("", 3)]));
    let ended: Vec<_> =
        running.iter().filter(|job| job.limit_key.as_deref() == Some("busy")).cloned().collect();
    finish(&db, &ended[..1]).await;
    let next = take(&db, worker, 50).await;
    assert_eq!(by_key(&next), HashMap::from([("busy", 1)]));
    assert!(next[0].id > ended[1].id, "in order");
    // Without the limit those held come back.
    limit(&db, Limits::default()).await;
    let held = "select count(*) as n from jobs where hold is not null";
    assert!(db.count(held).await > 2_000);
    while !waybill_jobs::postgres::holds::let_go(&mut *db.conn().await).await.unwrap().queues.is_empty() {}
    assert_eq!(db.count(held).await, 0);
    assert_eq!(take(&db, worker, 50).await.len(), 50);
}

#[tokio::test]
async fn a_bucket_gives_its_burst_and_then_what_time_fills_in() {
    let db = TestDatabase::create().await;
    put_many(&db, &vec![Probe::default(); 100]).await;
    let rate = Rate { jobs: 10, period: Duration::from_hours(1), burst: 20 };
    limit(&db, Limits { rate: Some(rate), ..Limits::default() }).await;
    let worker = register(db.pool()).await;
    assert_eq!(take(&db, worker, 15).await.len(), 15);
    assert_eq!(take(&db, worker, 15).await.len(), 5);
    assert!(take(&db, worker, 15).await.is_empty());
    let back =
        |minutes| format!("update queue_controls set filled_at = filled_at - interval '{minutes} minutes'");
    db.execute(&back(31)).await;
    assert_eq!(take(&db, worker, 15).await.len(), 5);
    db.execute(&back(6_000)).await;
    assert_eq!(take(&db, worker, 50).await.len(), 20, "no more than the burst");
    // A default from code neither replaces an operator's limits nor fills the bucket.
    control::default_limits(&mut *db.conn().await, QUEUE, &Limits::default()).await.unwrap();
    assert!(take(&db, worker, 15).await.is_empty());
}

#[tokio::test]
async fn each_key_has_a_bucket_of_its_own() {
    let db = TestDatabase::create().await;
    for key in ["a", "b"] {
        put_keyed(&db, key, 30).await;
    }
    let rate = Rate { jobs: 6, period: Duration::from_hours(1), burst: 3 };
    limit(&db, Limits { key_rate: Some(rate), ..Limits::default() }).await;
    let worker = register(db.pool()).await;
    assert_eq!(by_key(&take(&db, worker, 50).await), HashMap::from([("a", 3), ("b", 3)]));
    assert!(take(&db, worker, 50).await.is_empty());
    db.execute(
        "update limit_key_buckets set filled_at = filled_at - interval '11 minutes' where limit_key = 'b'",
    )
    .await;
    assert_eq!(by_key(&take(&db, worker, 50).await), HashMap::from([("b", 1)]));
    assert!(take(&db, worker, 50).await.is_empty());
}

#[tokio::test]
async fn limits_without_sense_are_refused() {
    let db = TestDatabase::create().await;
    for limits in [
        Limits { max_running: Some(-1), ..Limits::default() },
        Limits { max_per_key: Some(0), ..Limits::default() },
        Limits { rate: Some(Rate::new(0, Duration::from_secs(1))), ..Limits::default() },
        Limits { key_rate: Some(Rate::new(1, Duration::ZERO)), ..Limits::default() },
    ] {
        assert!(
            control::set_limits(&mut *db.conn().await, QUEUE, &limits, "op").await.is_err(),
            "{limits:?}"
        );
    }
    assert!(control::queues(&mut *db.conn().await).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_keep_to_a_default_in_code_and_run_everything() {
    let db = TestDatabase::create().await;
    for key in ["a", "b", "c"] {
        put_keyed(&db, key, 30).await;
    }
    let limits = Limits { max_running: Some(4), max_per_key: Some(2), ..Limits::default() };
    let rigs: Vec<_> = (0..2)
        .map(|_| {
            let registry = registry(|_, _| async { Ok(waybill_jobs::Outcome::done()) })
                .job::<Keyed>(|_: Keyed, _| async {
                    tokio::task::yield_now().await;
                    Ok(waybill_jobs::Outcome::done())
                })
                .limit(QUEUE, limits);
            Rig::start(&db, registry, config())
        })
        .collect();
    until("all have run", || async {
        let over = "select count(*) as n from (
                        select from jobs where state = 'running' group by grouping sets ((), (limit_key))
                        having count(*) > case grouping(limit_key) when 1 then 4 else 2 end) over";
        assert_eq!(db.count(over).await, 0);
        db.count("select count(*) as n from jobs").await == 0
    })
    .await;
    for rig in rigs {
        rig.stop().await;
    }
}
