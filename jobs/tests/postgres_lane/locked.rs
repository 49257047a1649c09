//! Rows of jobs that somebody else has locked: a console, an erasure, a handler's statement that is still at it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use tokio::sync::Semaphore;
use uuid::Uuid;
use waybill_jobs::{
    Enqueue, JobContext, JobResult, Outcome, Registry, Unique,
    runtime::WorkerConfig,
    testing::{TestDatabase, until},
};

use crate::rig::{
    Mortal, Probe, QUEUE, Rig, config, outcomes, put, put_many, put_with, registry, view, when,
};

/// A session in whose transaction the row of a job is locked.
async fn holding(db: &TestDatabase, id: Uuid) -> AsyncPgConnection {
    locking(db, &format!("select from jobs where id = '{id}' for update")).await
}

async fn locking(db: &TestDatabase, what: &str) -> AsyncPgConnection {
    let mut conn = AsyncPgConnection::establish(db.url()).await.unwrap();
    conn.batch_execute(&format!("begin; {what}")).await.unwrap();
    conn
}

/// Handlers that end when they may.
fn gated(gate: &Arc<Semaphore>) -> Registry {
    let gate = Arc::clone(gate);
    registry(move |_, _| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await?.forget();
            Ok(Outcome::done())
        }
    })
}

async fn ends(_: Probe, _: JobContext) -> JobResult {
    Ok(Outcome::done())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_waits_for_a_locked_row_holds_up_no_other() {
    let db = TestDatabase::create().await;
    let gate = Arc::new(Semaphore::new(0));
    let rig = Rig::start(&db, gated(&gate), config());
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

/// Not the row of the job is locked, but one that its end changes: somebody enqueues another with its key, and takes their time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_waits_for_its_locked_slot_is_neither_lost_nor_in_the_way() {
    let db = TestDatabase::create().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let unique = Some(Unique::while_live(format!("k{n}")));
        ids.push(put_with(&db, &Probe::default(), Enqueue { unique, ..Enqueue::default() }).await);
    }
    let mut holder = locking(&db, "select from job_uniques for update").await;
    let rig = Rig::start(&db, registry(ends), config());
    // For longer than it takes to give up an outcome that cannot be stored.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        for other in put_many(&db, &vec![Probe::default(); 5]).await {
            when(&db, other, "done").await;
        }
    }
    for id in &ids {
        assert_eq!(view(&db, *id).await.state, "running");
    }
    holder.batch_execute("rollback").await.unwrap();
    for id in &ids {
        let view = when(&db, *id, "done").await;
        assert_eq!((view.attempt, outcomes(&view)), (1, vec![]), "its one run counted");
    }
    assert_eq!(db.count("select count(*) as n from dead_letters").await, 0);
    rig.stop().await;
    assert_eq!(db.count("select count(*) as n from job_uniques").await, 0);
}

/// A slot that is given up when the job begins is kept by whoever has it locked, and given up when the job is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_does_not_wait_for_a_locked_slot() {
    let db = TestDatabase::create().await;
    let gate = Arc::new(Semaphore::new(0));
    let unique = Enqueue { unique: Some(Unique::while_waiting("k")), ..Enqueue::default() };
    let id = put_with(&db, &Probe::default(), unique).await;
    let mut holder = locking(&db, "select from job_uniques for update").await;
    let rig = Rig::start(&db, gated(&gate), config());
    when(&db, id, "running").await;
    holder.batch_execute("rollback").await.unwrap();
    gate.add_permits(1);
    when(&db, id, "done").await;
    rig.stop().await;
    assert_eq!(db.count("select count(*) as n from job_uniques").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_of_a_dead_worker_holds_up_no_take_over() {
    let db = TestDatabase::create().await;
    let hangs = async |_: Probe, _: JobContext| -> JobResult { std::future::pending().await };
    let patient = WorkerConfig { lease: Duration::from_hours(1), ..config() };
    let of = |places| WorkerConfig { queues: vec![(QUEUE.to_owned(), places)], ..patient.clone() };
    let two = put_many(&db, &vec![Probe::default(); 2]).await;
    let first = Mortal::start(&db, registry(hangs), of(2));
    for id in &two {
        when(&db, *id, "running").await;
    }
    let one = put(&db, &Probe::default()).await;
    let second = Mortal::start(&db, registry(hangs), of(1));
    when(&db, one, "running").await;

    let mut holder = holding(&db, two[0]).await;
    first.kill();
    let workers = "select count(*) as n from workers";
    until("the first is known to be dead", || async { db.count(workers).await == 1 }).await;
    assert_eq!(view(&db, two[0]).await.state, "running", "it is locked");
    // Another one dies while it stays so.
    let living = Rig::start(&db, registry(ends), patient.clone());
    second.kill();
    for id in [two[1], one] {
        assert_eq!(outcomes(&when(&db, id, "done").await), ["worker_lost"]);
    }
    assert_eq!(view(&db, two[0]).await.state, "running");
    holder.batch_execute("rollback").await.unwrap();
    assert_eq!(outcomes(&when(&db, two[0], "done").await), ["worker_lost"]);
    living.stop().await;
    assert_eq!(db.count("select count(*) as n from job_claims").await, 0);
    // That it was found by itself does not mean that it ran alone: it pays no attempt for the loss, as the one beside it.
    let given = format!(
        "select sum(max_attempts)::bigint as n from job_history where id in ('{}', '{}')",
        two[0], two[1]
    );
    assert_eq!(db.count(&given).await, 2 * (3 + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_of_a_living_worker_holds_up_no_take_over() {
    let db = TestDatabase::create().await;
    let hangs = async |_: Probe, _: JobContext| -> JobResult { std::future::pending().await };
    let idle = WorkerConfig { queues: vec![], lease: Duration::from_secs(3), ..config() };
    let mut locked = Rig::start(&db, registry(ends), idle);
    locked.id().await;
    let mut holder = locking(&db, "select from workers for update").await;
    let expired = "select count(*) as n from workers where lease_until < now()";
    until("its lease has run out", || async { db.count(expired).await == 1 }).await;
    let id = put(&db, &Probe::default()).await;
    let dying = Mortal::start(&db, registry(hangs), config());
    when(&db, id, "running").await;
    let living = Rig::start(&db, registry(ends), config());
    dying.kill();
    assert_eq!(outcomes(&when(&db, id, "done").await), ["worker_lost"]);
    holder.batch_execute("rollback").await.unwrap();
    living.stop().await;
    locked.stop().await;
}

/// The worker's own row is locked, so that its heartbeat gets no answer, while its other connections serve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_nobody_hears_stops_its_handlers_and_claims_nothing() {
    let db = TestDatabase::create().await;
    let asked = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&asked);
    let handler = move |job: Probe, context: JobContext| {
        let told = Arc::clone(&told);
        async move {
            if job.n == 1 {
                context.cancelled.cancelled().await;
                told.store(true, Ordering::SeqCst);
            }
            Ok(Outcome::done())
        }
    };
    let rig =
        Rig::start(&db, registry(handler), WorkerConfig { grace: Duration::from_millis(300), ..config() });
    let running = put(&db, &Probe { n: 1, key: None }).await;
    when(&db, running, "running").await;
    let mut holder = locking(&db, "select from workers for update").await;
    until("the handler is asked to stop", || async { asked.load(Ordering::SeqCst) }).await;
    let late = put(&db, &Probe::default()).await;
    // Longer than a worker that claims would need to find it.
    let begun = Instant::now();
    until("two seconds have passed", || async { begun.elapsed() > Duration::from_secs(2) }).await;
    assert_eq!(view(&db, late).await.state, "queued");
    holder.batch_execute("rollback").await.unwrap();
    when(&db, late, "done").await;
    rig.stop().await;
}
