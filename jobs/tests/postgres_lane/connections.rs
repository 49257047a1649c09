//! A database that goes away while jobs run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;
use waybill_jobs::{JobContext, Outcome, runtime::WorkerConfig, testing::TestDatabase};

use crate::rig::{Probe, Rig, config, outcomes, put, put_many, registry, view, when};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_handlers_outlive_their_connections_and_run_once() {
    let db = TestDatabase::create().await;
    let ids = put_many(&db, &vec![Probe::default(); 6]).await;
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
    let mut rig =
        Rig::start(&db, registry(handler), WorkerConfig { grace: Duration::from_secs(20), ..config() });
    let before = rig.id().await;
    for id in &ids {
        when(&db, *id, "running").await;
    }
    for _ in 0..3 {
        db.cut_connections().await;
        gate.add_permits(2);
        tokio::task::yield_now().await;
    }
    for id in &ids {
        let view = when(&db, *id, "done").await;
        assert_eq!((view.attempt, outcomes(&view).len()), (1, 0));
    }
    assert_eq!(runs.load(Ordering::SeqCst), ids.len());
    assert_eq!(rig.id().await, before, "it kept its row");
    // And it still takes new ones.
    let id = put(&db, &Probe::default()).await;
    gate.add_permits(1);
    when(&db, id, "done").await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_have_the_whole_pool_do_not_stop_the_worker() {
    let db = TestDatabase::create().await;
    let ids = put_many(&db, &vec![Probe::default(); 40]).await;
    // Each holds a connection while it runs, and more run than there are connections.
    let handler = async |_: Probe, context: JobContext| {
        let _conn = context.pool.get().await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Outcome::done())
    };
    let queues = vec![("test".to_owned(), 40)];
    let rig = Rig::start(&db, registry(handler), WorkerConfig { queues, ..config() });
    for id in ids {
        assert_eq!(when(&db, id, "done").await.attempt, 1);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_claimed_without_our_knowing_are_handed_back() {
    let db = TestDatabase::create().await;
    let ran = async |_: Probe, _: JobContext| Ok(Outcome::done());
    let quick = WorkerConfig { lease: Duration::from_secs(1), ..config() };
    let mut rig = Rig::start(&db, registry(ran), quick);
    let worker = rig.id().await;
    // As if the answer of a claim had been lost with its connection.
    let id = waybill_schema::new_id();
    db.execute(&format!(
        "with claim as (
             insert into job_claims (worker_id, queue, ids) values ('{worker}', 'test', array['{id}'::uuid]) returning id)
         insert into jobs (id, kind, queue, state, attempt, max_attempts, claim, worker_id, claimed_at, payload, claim_batch)
         select '{id}', 'test.probe', 'test', 'running', 1, 3, 1, '{worker}', now(), '{{\"n\": 1, \"key\": null}}', id
         from claim"
    ))
    .await;
    let done = when(&db, id, "done").await;
    assert_eq!((done.attempt, outcomes(&done).len()), (1, 0), "no attempt was spent on it");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_whose_job_was_taken_away_is_asked_to_stop() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let handler = async |_: Probe, context: JobContext| {
        if context.attempt == 1 {
            context.cancelled.cancelled().await;
        }
        Ok(Outcome::done())
    };
    let quick = WorkerConfig { lease: Duration::from_secs(1), ..config() };
    let rig = Rig::start(&db, registry(handler), quick);
    when(&db, id, "running").await;
    db.execute("update jobs set state = 'queued', worker_id = null where state = 'running'").await;
    assert_eq!(when(&db, id, "done").await.attempt, 2);
    rig.stop().await;
    assert_eq!(view(&db, id).await.attempt, 2);
}
