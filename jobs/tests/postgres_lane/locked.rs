//! Rows of jobs that somebody else has locked: a console, an erasure, a handler's statement that is still at it.

use std::{sync::Arc, time::Duration};

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio::sync::Semaphore;
use uuid::Uuid;
use waybill_jobs::{
    JobContext, JobResult, Outcome,
    runtime::WorkerConfig,
    testing::{TestDatabase, until},
};

use crate::rig::{Mortal, Probe, QUEUE, Rig, config, outcomes, put, put_many, registry, view, when};

/// A session in whose transaction the row of a job is locked.
async fn holding(db: &TestDatabase, id: Uuid) -> AsyncPgConnection {
    let mut conn = <AsyncPgConnection as diesel_async::AsyncConnection>::establish(db.url()).await.unwrap();
    conn.batch_execute(&format!("begin; select from jobs where id = '{id}' for update")).await.unwrap();
    conn
}

async fn ends(_: Probe, _: JobContext) -> JobResult {
    Ok(Outcome::done())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_waits_for_a_locked_row_holds_up_no_other() {
    let db = TestDatabase::create().await;
    let gate = Arc::new(Semaphore::new(0));
    let gated = Arc::clone(&gate);
    let rig = Rig::start(
        &db,
        registry(move |_, _| {
            let gated = Arc::clone(&gated);
            async move {
                gated.acquire().await?.forget();
                Ok(Outcome::done())
            }
        }),
        config(),
    );
    let ids = put_many(&db, &vec![Probe::default(); 8]).await;
    for id in &ids {
        when(&db, *id, "running").await;
    }
    let mut holder = holding(&db, ids[3]).await;
    // All eight answer at once, so that their outcomes are in one statement.
    gate.add_permits(1_000);
    for id in ids.iter().filter(|id| **id != ids[3]) {
        when(&db, *id, "done").await;
    }
    // Nor those that come after it, again and again, while the row stays locked.
    for _ in 0..5 {
        for id in put_many(&db, &vec![Probe::default(); 20]).await {
            when(&db, id, "done").await;
        }
    }
    assert_eq!(view(&db, ids[3]).await.state, "running");
    holder.batch_execute("rollback").await.unwrap();
    let view = when(&db, ids[3], "done").await;
    assert_eq!((view.attempt, outcomes(&view)), (1, vec![]), "its one run counted");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_of_a_dead_worker_holds_up_no_take_over() {
    let db = TestDatabase::create().await;
    let hangs = async |_: Probe, _: JobContext| -> JobResult { std::future::pending().await };
    let patient = WorkerConfig { lease: Duration::from_hours(1), ..config() };
    let single = WorkerConfig { queues: vec![(QUEUE.to_owned(), 1)], ..patient.clone() };
    let mut dying = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(put(&db, &Probe::default()).await);
        dying.push(Mortal::start(&db, registry(hangs), single.clone()));
        when(&db, ids[ids.len() - 1], "running").await;
    }
    let mut holder = holding(&db, ids[0]).await;
    dying.remove(0).kill();
    let workers = "select count(*) as n from workers";
    until("the first is known to be dead", || async { db.count(workers).await == 1 }).await;
    assert_eq!(view(&db, ids[0]).await.state, "running", "its job is locked");
    // Another one dies while it stays so.
    let living = Rig::start(&db, registry(ends), patient);
    dying.remove(0).kill();
    assert_eq!(outcomes(&when(&db, ids[1], "done").await), ["worker_lost"]);
    assert_eq!(view(&db, ids[0]).await.state, "running");
    holder.batch_execute("rollback").await.unwrap();
    assert_eq!(outcomes(&when(&db, ids[0], "done").await), ["worker_lost"]);
    living.stop().await;
    assert_eq!(db.count("select count(*) as n from job_claims").await, 0);
}
