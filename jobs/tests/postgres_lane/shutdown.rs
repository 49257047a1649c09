use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;
use waybill_jobs::{
    Failure, JobContext, Outcome,
    runtime::WorkerConfig,
    testing::{TestDatabase, until},
};

use crate::rig::{Probe, Rig, config, outcomes, put_many, registry, view};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_jobs_finish_and_waiting_ones_are_untouched() {
    let db = TestDatabase::create().await;
    let ids = put_many(&db, &vec![Probe::default(); 20]).await;
    let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (gate, runs) = (Arc::clone(&gate), Arc::clone(&runs));
        move |_: Probe, _: JobContext| {
            let (gate, runs) = (Arc::clone(&gate), Arc::clone(&runs));
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await?.forget();
                Ok(Outcome::done())
            }
        }
    };
    let rig = Rig::start(&db, registry(handler), config());
    until("all places are taken", || async { runs.load(Ordering::SeqCst) == 8 }).await;
    rig.shutdown.cancel();
    until("it says that it drains", || async {
        db.count("select count(*) as n from workers where state = 'draining'").await == 1
    })
    .await;
    gate.add_permits(100);
    rig.stop().await;
    assert_eq!(runs.load(Ordering::SeqCst), 8, "nothing was started after the stop");
    assert_eq!(db.count("select count(*) as n from job_history where state = 'done'").await, 8);
    let untouched =
        "select count(*) as n from jobs where state = 'queued' and attempt = 0 and failures = '[]'";
    assert_eq!(db.count(untouched).await, 12);
    assert_eq!(db.count("select count(*) as n from workers").await, 0);
    assert_eq!(ids.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_the_deadline_is_put_back_with_a_mark_and_no_attempt_spent() {
    let db = TestDatabase::create().await;
    // One heeds its token, one does not, one has its answer ready when it is asked.
    let probes: Vec<_> = (0..3).map(|n| Probe { n, key: None }).collect();
    let ids = put_many(&db, &probes).await;
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let handler = move |job: Probe, context: JobContext| {
        let counted = Arc::clone(&counted);
        async move {
            counted.fetch_add(1, Ordering::SeqCst);
            if job.n == 1 {
                std::future::pending::<()>().await;
            }
            context.cancelled.cancelled().await;
            if job.n == 0 { Err(Failure::retryable("stopped at row 7")) } else { Ok(Outcome::done()) }
        }
    };
    let hasty = WorkerConfig { shutdown_deadline: Duration::from_millis(50), ..config() };
    let rig = Rig::start(&db, registry(handler), hasty);
    // Not: are claimed. A job whose handler has not begun is handed back without a mark.
    until("all run", || async { begun.load(Ordering::SeqCst) == 3 }).await;
    rig.stop().await;
    for id in &ids[..2] {
        let view = view(&db, *id).await;
        assert_eq!((view.state.as_str(), view.attempt), ("queued", 0));
        assert_eq!(outcomes(&view), ["interrupted"]);
    }
    assert!(view(&db, ids[0]).await.failures[0]["error"].as_str().unwrap().contains("stopped at row 7"));
    assert_eq!(view(&db, ids[2]).await.state, "done");
}

#[tokio::test]
async fn a_worker_that_never_reached_its_database_stops_when_told() {
    let db = TestDatabase::create().await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    let worker = waybill_jobs::runtime::Worker::new(
        nowhere,
        db.pool().clone(),
        registry(async |_, _| Ok(Outcome::done())),
        config(),
    );
    let running = tokio::spawn(worker.run(shutdown.clone()));
    tokio::task::yield_now().await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let db = TestDatabase::create().await;
    let start = |config| {
        let registry = registry(async |_, _| Ok(Outcome::done()));
        waybill_jobs::runtime::Worker::new(db.url(), db.pool().clone(), registry, config)
            .run(tokio_util::sync::CancellationToken::new())
    };
    let twice = vec![("a".to_owned(), 1), ("a".to_owned(), 2)];
    start(WorkerConfig { queues: twice, ..config() }).await.unwrap_err();
    start(WorkerConfig { lease: Duration::from_millis(300), ..config() }).await.unwrap_err();
}
