//! Old and new workers side by side: who takes which job, and what becomes of one that nobody knows.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_jobs::{
    Job, JobContext, JobResult, Outcome, Registry, cancel,
    postgres::{claim, holds::let_go, unknown::know},
    testing::{TestDatabase, serve, until},
};

use crate::rig::{Probe, QUEUE, Rig, config, outcomes, put, put_many, registry, view, when};

/// A kind that the old workers do not have.
#[derive(Debug, Serialize, Deserialize)]
struct Newcomer {}

impl Job for Newcomer {
    const KIND: &'static str = "test.newcomer";
    const QUEUE: &'static str = QUEUE;
}

/// One that they have, with arguments that they cannot read.
#[derive(Debug, Serialize, Deserialize)]
struct Changed {
    since_version_two: i64,
}

impl Job for Changed {
    const KIND: &'static str = Probe::KIND;
    const QUEUE: &'static str = QUEUE;
    const VERSION: i16 = 2;
}

async fn newcomer(db: &TestDatabase) -> Uuid {
    waybill_jobs::enqueue(&*db.conn().await, &Newcomer {}).await.unwrap()
}

async fn changed(db: &TestDatabase) -> Uuid {
    waybill_jobs::enqueue(&*db.conn().await, &Changed { since_version_two: 1 }).await.unwrap()
}

fn old() -> Registry {
    registry(done)
}

async fn done<J>(_: J, _: JobContext) -> JobResult {
    Ok(Outcome::done())
}

fn new() -> Registry {
    Registry::new().job::<Newcomer>(done).job::<Changed>(done)
}

/// A worker of `queues` that has said what it knows.
async fn worker(db: &TestDatabase, registry: &Registry, queues: &[&str]) -> Uuid {
    let id = serve(db.pool(), queues).await;
    know(&mut *db.conn().await, id, &registry.declared().kinds).await.unwrap();
    id
}

async fn take(db: &TestDatabase, worker: Uuid) -> Vec<Uuid> {
    let claimed = claim(&mut *db.conn().await, QUEUE, worker, 100).await.unwrap();
    claimed.into_iter().map(|job| job.id).collect()
}

async fn goes(db: &TestDatabase, worker: Uuid) {
    db.execute(&format!("delete from workers where id = '{worker}'")).await;
}

const GAPS: &str = "select count(*) as n from worker_gaps";
const ASIDE: &str = "select count(*) as n from jobs where hold like 'unknown:%' and attempt = 0";

#[tokio::test]
async fn a_worker_leaves_to_others_what_they_know_and_it_does_not() {
    let db = TestDatabase::create().await;
    let (before, twin) = (worker(&db, &old(), &[QUEUE]).await, worker(&db, &old(), &[QUEUE]).await);
    assert_eq!(db.count(GAPS).await, 0, "all are alike");
    let after = worker(&db, &new(), &[QUEUE, "other"]).await;
    assert_eq!(db.count(GAPS).await, 4, "each of the old ones lacks two");
    let (first, second, plain) = (newcomer(&db).await, changed(&db).await, put(&db, &Probe::default()).await);
    assert_eq!(take(&db, before).await, [plain]);
    assert_eq!(take(&db, twin).await, [] as [Uuid; 0]);
    assert_eq!(take(&db, after).await, [first, second]);

    // With the last one that knows them, the reason to leave them is gone.
    let (first, second) = (newcomer(&db).await, changed(&db).await);
    assert_eq!(take(&db, twin).await, [] as [Uuid; 0]);
    goes(&db, after).await;
    assert_eq!(db.count(GAPS).await, 0);
    assert_eq!(take(&db, twin).await, [first, second]);
}

#[tokio::test]
async fn one_that_knows_a_job_and_does_not_serve_its_queue_is_nobody_to_leave_it_to() {
    let db = TestDatabase::create().await;
    let before = worker(&db, &old(), &[QUEUE, "other"]).await;
    worker(&db, &new(), &["other"]).await;
    // Of a release that does not say what it knows: nothing is left to it, and it leaves nothing.
    let older = serve(db.pool(), &[QUEUE]).await;
    let job = newcomer(&db).await;
    assert_eq!(take(&db, before).await, [job]);
    let job = newcomer(&db).await;
    worker(&db, &new(), &[QUEUE]).await;
    assert_eq!(take(&db, before).await, [] as [Uuid; 0]);
    assert_eq!(take(&db, older).await, [job]);
}

#[tokio::test]
async fn workers_that_come_and_go_at_once_leave_no_gap_behind() {
    let db = TestDatabase::create().await;
    let comes = |number: usize| {
        let db = &db;
        async move {
            let known = if number.is_multiple_of(2) { old() } else { new() };
            let id = worker(db, &known, &[QUEUE]).await;
            goes(db, id).await;
            worker(db, &known, &[QUEUE]).await
        }
    };
    let ids = futures::future::join_all((0..8).map(comes)).await;
    // The new ones lack nothing: they read what the old ones do.
    assert_eq!(db.count(GAPS).await, 4 * 2);
    futures::future::join_all(ids.into_iter().skip(1).step_by(2).map(|id| goes(&db, id))).await;
    assert_eq!(db.count(GAPS).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_knows_waits_for_one_that_does_and_runs_as_soon_as_it_comes() {
    let db = TestDatabase::create().await;
    let before = Rig::start(&db, old(), config());
    let ids = [newcomer(&db).await, changed(&db).await];
    until("both are put aside", || async { db.count(ASIDE).await == 2 }).await;
    let first = view(&db, ids[0]).await;
    assert_eq!((first.snoozes, outcomes(&first)), (1, vec!["snoozed".to_owned()]));
    assert!(first.failures[0]["error"].as_str().unwrap().contains("test.newcomer in version 1"));
    let_go(&mut *db.conn().await).await.unwrap();
    assert_eq!(db.count(ASIDE).await, 2, "nobody knows them still");

    let after = Rig::start(&db, new(), config());
    for id in ids {
        let done = when(&db, id, "done").await;
        assert_eq!((done.attempt, done.snoozes), (1, 1), "put aside once, and by no old worker again");
    }
    // Both live on: what comes now goes to the one that knows it, and nobody puts it aside.
    let more = [newcomer(&db).await, changed(&db).await, newcomer(&db).await];
    put_many(&db, &vec![Probe::default(); 20]).await;
    for id in more {
        assert_eq!(when(&db, id, "done").await.snoozes, 0);
    }
    until("the rest is done", || async { db.count("select count(*) as n from jobs").await == 0 }).await;
    after.stop().await;
    before.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_nobody_knows_can_be_cancelled() {
    let db = TestDatabase::create().await;
    let rig = Rig::start(&db, old(), config());
    let id = newcomer(&db).await;
    until("it is put aside", || async { db.count(ASIDE).await == 1 }).await;
    cancel::cancel(&mut *db.conn().await, id, "op", "no more").await.unwrap();
    assert_eq!(when(&db, id, "cancelled").await.attempt, 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_knows_no_kind_at_all_harms_nothing() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let rig = Rig::start(&db, Registry::new(), config());
    until("it is put aside", || async { db.count(ASIDE).await == 1 }).await;
    assert_eq!(view(&db, id).await.attempt, 0);
    rig.stop().await;
}

/// What stepping over costs the old workers while the new ones have more to do than they can: a measurement.
#[tokio::test]
#[ignore = "a measurement"]
async fn claims_past_what_others_know() {
    let db = TestDatabase::create().await;
    let before = worker(&db, &old(), &[QUEUE]).await;
    for gaps in [false, true] {
        if gaps {
            worker(&db, &new(), &[QUEUE]).await;
            db.execute(
                "insert into jobs (id, kind, queue, max_attempts, payload)
                 select gen_random_uuid(), 'test.newcomer', 'test', 3, '{}' from generate_series(1, 100000);
                 vacuum analyze jobs",
            )
            .await;
        }
        let mut conn = db.conn().await;
        let mut took = Duration::ZERO;
        for _ in 0..20 {
            put(&db, &Probe::default()).await;
            let asked = Instant::now();
            assert_eq!(claim(&mut conn, QUEUE, before, 1).await.unwrap().len(), 1);
            took += asked.elapsed();
        }
        println!("a claim past {} jobs of others: {:?}", if gaps { 100_000 } else { 0 }, took / 20);
    }
}
