//! Handlers that never yield.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use waybill_jobs::{
    Job, JobContext, JobResult, Outcome, Policy, enqueue,
    runtime::{Worker, WorkerConfig},
    testing::{TestDatabase, until},
};
use waybill_schema::system::workers;

use crate::rig::{Probe, QUEUE, Rig, config, outcomes, put, registry, when};

/// Names the database of the process that this test starts.
const DATABASE: &str = "WAYBILL_OVERDUE_DATABASE";

#[derive(Serialize, Deserialize)]
struct Block;

impl Job for Block {
    const KIND: &'static str = "test.block";
    const QUEUE: &'static str = QUEUE;
    const POLICY: Policy = Policy { max_attempts: 2, timeout: Duration::from_millis(50), ..Policy::DEFAULT };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_never_yields_is_told_of_and_holds_nobody_else() {
    let db = TestDatabase::create().await;
    let id = enqueue(&*db.conn().await, &Block).await.unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let blocked = Arc::clone(&enough);
    let registry =
        registry(async |_: Probe, _: JobContext| Ok(Outcome::done())).job(move |_: Block, _: JobContext| {
            let blocked = Arc::clone(&blocked);
            async move {
                while !blocked.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(Outcome::done())
            }
        });
    let rig = Rig::start(&db, registry, config());
    let overdue = |jobs| {
        let db = &db;
        move || async move {
            let workers = workers::list(&mut *db.conn().await).await.unwrap();
            workers.len() == 1 && workers[0].overdue == jobs
        }
    };
    until("it is overdue", overdue(1)).await;
    let other = put(&db, &Probe::default()).await;
    when(&db, other, "done").await;
    assert_eq!(when(&db, id, "running").await.attempt, 1, "nothing can end it");
    enough.store(true, Ordering::SeqCst);
    // It has an answer after all.
    when(&db, id, "done").await;
    until("it is not overdue any more", overdue(0)).await;
    rig.stop().await;
}

/// Not a test: the worker that the test below starts as a process of its own.
#[test]
#[ignore = "a worker process of the test of overdue jobs"]
fn a_worker_process() {
    let Ok(url) = std::env::var(DATABASE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = waybill_schema::db::connect(&url, 4, Duration::from_secs(5)).await.unwrap();
        let handler = async |_: Block, _: JobContext| -> JobResult {
            loop {
                std::thread::sleep(Duration::from_mins(1));
            }
        };
        let config = WorkerConfig { end_when_overdue: true, ..config() };
        let registry = waybill_jobs::Registry::new().job(handler);
        Worker::new(url.as_str(), pool, registry, config).run(CancellationToken::new()).await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_may_end_itself_for_it_and_the_attempt_is_spent() {
    let db = TestDatabase::create().await;
    let id = enqueue(&*db.conn().await, &Block).await.unwrap();
    let quick = WorkerConfig { queues: vec![], grace: Duration::from_millis(100), ..config() };
    let reaping = Rig::start(&db, waybill_jobs::Registry::new(), quick);
    for attempt in 1..=2 {
        // All its threads are blocked: neither its heartbeat nor its runtime could do anything.
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "overdue::a_worker_process", "--ignored", "--nocapture"])
            .env(DATABASE, db.url())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut code = None;
        until("the process ends", || {
            code = process.try_wait().unwrap();
            std::future::ready(code.is_some())
        })
        .await;
        assert_eq!(code.unwrap().code(), Some(70), "attempt {attempt}");
    }
    let dead = when(&db, id, "dead").await;
    assert_eq!(outcomes(&dead), ["worker_lost"; 2]);
    reaping.stop().await;
}
