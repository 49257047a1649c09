//! Workers that die, hang, or are taken for dead.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use waybill_jobs::{
    JobContext, JobResult, Outcome,
    reaper::sweep,
    runtime::WorkerConfig,
    testing::{TestDatabase, until},
};

use crate::rig::{Mortal, Probe, Rig, config, outcomes, put, registry, view, when};

/// Never ends by itself.
async fn hangs(_: Probe, _: JobContext) -> JobResult {
    std::future::pending().await
}

async fn ends(_: Probe, _: JobContext) -> JobResult {
    Ok(Outcome::done())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_dead_process_run_elsewhere() {
    let db = TestDatabase::create().await;
    let ids = [put(&db, &Probe::default()).await, put(&db, &Probe::default()).await];
    // With a lease of an hour only the lock can tell.
    let patient = WorkerConfig { lease: Duration::from_hours(1), ..config() };
    let dying = Mortal::start(&db, registry(hangs), patient.clone());
    for id in ids {
        when(&db, id, "running").await;
    }
    let living = Rig::start(&db, registry(ends), patient);
    dying.kill();
    for id in ids {
        let view = when(&db, id, "done").await;
        assert_eq!((view.attempt, outcomes(&view)), (2, vec!["worker_lost".to_owned()]));
    }
    living.stop().await;
    assert_eq!(db.count("select count(*) as n from workers").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_lock_the_lease_tells() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let pooled = WorkerConfig { lock: false, listen: false, lease: Duration::from_secs(1), ..config() };
    let dying = Mortal::start(&db, registry(hangs), pooled.clone());
    when(&db, id, "running").await;
    let living = Rig::start(&db, registry(ends), pooled);
    dying.kill();
    assert_eq!(outcomes(&when(&db, id, "done").await), ["worker_lost"]);
    living.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_its_workers_ends_as_a_dead_letter() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let quick = WorkerConfig { grace: Duration::from_millis(100), ..config() };
    let mut reaping = Rig::start(&db, registry(ends), WorkerConfig { queues: vec![], ..quick.clone() });
    reaping.id().await;
    for _ in 0..Probe::max_attempts() {
        let dying = Mortal::start(&db, registry(hangs), quick.clone());
        until("it runs", || async {
            // The pause after the second loss is not what is tested.
            db.execute("update jobs set run_at = now() where hold = 'suspect'").await;
            view(&db, id).await.state == "running"
        })
        .await;
        dying.kill();
        until("it was taken over", || async { view(&db, id).await.state != "running" }).await;
    }
    let view = when(&db, id, "dead").await;
    assert_eq!(outcomes(&view), ["worker_lost"; 3]);
    assert_eq!(view.reason.as_deref(), Some("the last attempt lost its worker"));
    reaping.stop().await;
}

impl Probe {
    fn max_attempts() -> i16 {
        <Self as waybill_jobs::Job>::POLICY.max_attempts
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_taken_for_dead_stops_its_handlers_and_starts_over() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let handler = {
        let asked = Arc::clone(&asked);
        move |_: Probe, context: JobContext| {
            let asked = Arc::clone(&asked);
            async move {
                if context.attempt == 1 {
                    context.cancelled.cancelled().await;
                    asked.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Outcome::done())
            }
        }
    };
    let mut rig = Rig::start(&db, registry(handler), config());
    let first = rig.id().await;
    when(&db, id, "running").await;
    // As after a pause longer than the lease: its own reaper is as good as another's.
    let mut identity = rig.identity.clone();
    let renamed = identity.wait_for(|now| *now != Some(first));
    tokio::pin!(renamed);
    while tokio::time::timeout(Duration::from_millis(20), &mut renamed).await.is_err() {
        db.execute(&format!(
            "update workers set lease_until = now() - interval '1 minute' where id = '{first}'"
        ))
        .await;
    }
    let view = when(&db, id, "done").await;
    assert_eq!(outcomes(&view), ["worker_lost"]);
    assert_eq!(view.attempt, 2, "the zombie's own completion was refused");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let second = rig.id().await;
    assert_ne!(first, second);
    assert_eq!(view.worker_id, Some(second));
    rig.stop().await;
}

#[tokio::test]
async fn a_claim_that_outlived_its_workers_row_is_taken_over_too() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    db.execute("update jobs set state = 'running', attempt = 1, claim = 1, worker_id = gen_random_uuid()")
        .await;
    let mut conn = db.conn().await;
    assert_eq!(sweep(&mut conn, Duration::from_secs(1), false).await.unwrap().put_back, 0);
    let taken = sweep(&mut conn, Duration::from_secs(1), true).await.unwrap();
    assert_eq!((taken.put_back, taken.buried, taken.expired.len()), (1, 0, 1));
    assert_eq!(view(&db, id).await.state, "queued");
}

#[tokio::test]
async fn a_free_lock_counts_only_after_the_grace() {
    let db = TestDatabase::create().await;
    db.execute(
        "insert into workers (id, service, host, pid, version, lock_key, lease_until)
         values (gen_random_uuid(), 'test', 'here', 1, '0', -42, now() + interval '1 hour')",
    )
    .await;
    let mut conn = db.conn().await;
    let grace = Duration::from_hours(1);
    assert!(sweep(&mut conn, grace, true).await.unwrap().died.is_empty());
    assert_eq!(db.count("select count(*) as n from workers where unlocked_at is not null").await, 1);
    // The process is back with its lock: the note is taken off.
    db_lock(&mut conn, -42).await;
    sweep(&mut conn, grace, true).await.unwrap();
    assert_eq!(db.count("select count(*) as n from workers where unlocked_at is null").await, 1);
    diesel_async::SimpleAsyncConnection::batch_execute(&mut *conn, "select pg_advisory_unlock(-42)")
        .await
        .unwrap();
    sweep(&mut conn, grace, true).await.unwrap();
    db.execute("update workers set unlocked_at = unlocked_at - interval '2 hours'").await;
    assert_eq!(sweep(&mut conn, grace, true).await.unwrap().died.len(), 1);
    assert_eq!(db.count("select count(*) as n from workers").await, 0);
}

async fn db_lock(conn: &mut waybill_schema::Conn, key: i64) {
    let lock = format!("select pg_advisory_lock({key})");
    diesel_async::SimpleAsyncConnection::batch_execute(conn, &lock).await.unwrap();
}
