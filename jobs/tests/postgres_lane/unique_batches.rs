//! Batches of unique jobs that want the same slots at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use rand::seq::SliceRandom;
use uuid::Uuid;
use waybill_jobs::{
    Enqueue, EnqueueError, Enqueued, JobContext, Outcome, Unique,
    postgres::{claim, complete::complete_done},
    testing::{TestDatabase, register, until},
    try_enqueue_all,
};
use waybill_schema::Conn;

use crate::rig::{Probe, QUEUE, Rig, config, registry};

fn with(unique: Unique) -> Enqueue {
    Enqueue { unique: Some(unique), ..Enqueue::default() }
}

async fn batch(conn: &Conn, keys: &[&str]) -> Vec<Enqueued> {
    let probe = Probe::default();
    let jobs = keys.iter().map(|key| (&probe, with(Unique::while_live(*key))));
    try_enqueue_all(conn, jobs).await.unwrap()
}

/// How many sessions wait for a transaction of another to end.
async fn waiting(db: &TestDatabase) -> i64 {
    let query = "select count(*) as n from pg_stat_activity
                 where datname = current_database() and wait_event = 'transactionid'";
    db.count(query).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_slot_has_none_behind_it() {
    let db = TestDatabase::create().await;
    let mut first = db.conn().await;
    first.batch_execute("begin").await.unwrap();
    batch(&first, &["b"]).await;
    let pool = db.pool().clone();
    let second = tokio::spawn(async move { batch(&pool.get().await.unwrap(), &["c", "a", "b"]).await });
    until("the second waits", || async { waiting(&db).await == 1 }).await;
    // It waits for nobody.
    assert!(batch(&*db.conn().await, &["c"]).await[0].is_new());
    assert_eq!(waiting(&db).await, 1);
    first.batch_execute("commit").await.unwrap();
    let answers: Vec<bool> = second.await.unwrap().iter().map(|answer| answer.is_new()).collect();
    assert_eq!(answers, [false, true, false], "c and b were others'");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_was_given_up_while_the_batch_waited_for_another_is_taken() {
    let db = TestDatabase::create().await;
    let worker = register(db.pool()).await;
    let holder = batch(&*db.conn().await, &["a"]).await[0].id();
    claim(&mut *db.conn().await, QUEUE, worker, 1).await.unwrap();
    let mut first = db.conn().await;
    first.batch_execute("begin").await.unwrap();
    batch(&first, &["m"]).await;
    let pool = db.pool().clone();
    let second = tokio::spawn(async move { batch(&pool.get().await.unwrap(), &["z", "m", "a"]).await });
    until("the second waits", || async { waiting(&db).await == 1 }).await;
    // It has seen that this one has the slot, and cannot ask who it was.
    complete_done(&mut *db.conn().await, &[(holder, 1)], &[None]).await.unwrap();
    first.batch_execute("rollback").await.unwrap();
    assert!(second.await.unwrap().iter().all(|answer| answer.is_new()));
    assert_eq!(db.count("select count(*) as n from jobs").await, 3);
    let owned =
        "select count(*) as n from job_uniques u join jobs j on j.id = u.job_id and j.unique_key = u.key";
    assert_eq!(db.count(owned).await, 3);
}

/// Slots are given up all the time, by workers and by time, and callers roll back now and then: nobody sees an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_batches_of_shuffled_keys_ends_without_a_deadlock() {
    const KEYS: usize = 40;
    const BATCHES: usize = 60;
    let db = TestDatabase::create().await;
    let rig = Rig::start(&db, registry(async |_: Probe, _: JobContext| Ok(Outcome::done())), config());
    let done = Arc::new(AtomicUsize::new(0));
    let failed = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (pool, done, failed) = (db.pool().clone(), Arc::clone(&done), Arc::clone(&failed));
            tokio::spawn(async move {
                for _ in 0..BATCHES {
                    let mut keys: Vec<usize> = (0..KEYS).collect();
                    keys.shuffle(&mut rand::rng());
                    keys.truncate(rand::random_range(2..=KEYS));
                    let mut conn = pool.get().await.unwrap();
                    let ended: Result<Vec<Enqueued>, Ended> =
                        conn.transaction(async |conn| enqueue(conn, &keys).await).await;
                    if let Err(Ended(Some(error))) = ended {
                        failed.store(true, Ordering::Relaxed);
                        panic!("{error}");
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    until("all have ended", || async {
        failed.load(Ordering::Relaxed) || done.load(Ordering::Relaxed) == 8 * BATCHES
    })
    .await;
    for caller in callers {
        caller.await.unwrap();
    }
    until("all have run", || async { db.count("select count(*) as n from jobs").await == 0 }).await;
    rig.stop().await;
    assert!(db.count("select count(*) as n from job_history").await > 100);
    let kept = "select count(*) as n from job_uniques where scope <> 'window'";
    assert_eq!(db.count(kept).await, 0, "no slot is left behind");
}

/// Why a transaction was rolled back; on purpose without an error.
struct Ended(Option<String>);

impl From<diesel::result::Error> for Ended {
    fn from(error: diesel::result::Error) -> Self {
        Self(Some(error.to_string()))
    }
}

impl From<EnqueueError> for Ended {
    fn from(error: EnqueueError) -> Self {
        Self(Some(error.to_string()))
    }
}

/// Some are unique while they live, some for a moment.
async fn enqueue(conn: &Conn, keys: &[usize]) -> Result<Vec<Enqueued>, Ended> {
    let probe = Probe::default();
    let jobs = keys.iter().map(|key| {
        let unique = match key % 2 {
            0 => Unique::while_live(key.to_string()),
            _ => Unique::within(key.to_string(), Duration::from_millis(5)),
        };
        (&probe, with(unique))
    });
    let answers = try_enqueue_all(conn, jobs).await?;
    assert_eq!(answers.len(), keys.len());
    assert!(answers.iter().all(|answer| answer.id() != Uuid::nil()));
    if rand::random::<f64>() < 0.2 { Err(Ended(None)) } else { Ok(answers) }
}
