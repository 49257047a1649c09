use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use diesel_async::AsyncConnection;
use waybill_jobs::{
    Enqueue, EnqueueError, Enqueued, JobContext, Outcome, RawJob, Unique,
    postgres::{claim, complete::complete_done},
    testing::{TestDatabase, register, until},
    try_enqueue, try_enqueue_all, try_enqueue_raw,
};
use waybill_schema::new_id;

use crate::rig::{Probe, QUEUE, Rig, config, put_with, registry};

fn with(unique: Unique) -> Enqueue {
    Enqueue { unique: Some(unique), ..Enqueue::default() }
}

async fn put(db: &TestDatabase, unique: Unique) -> Enqueued {
    try_enqueue(&*db.conn().await, &Probe::default(), with(unique)).await.unwrap()
}

#[tokio::test]
async fn a_live_job_keeps_its_slot_until_it_is_over() {
    let db = TestDatabase::create().await;
    let first = put(&db, Unique::while_live("k")).await;
    assert!(first.is_new());
    assert_eq!(put(&db, Unique::while_live("k")).await, Enqueued::Existing(first.id()));
    assert!(put(&db, Unique::while_live("another")).await.is_new());
    let worker = register(db.pool()).await;
    let claimed = claim(&mut *db.conn().await, QUEUE, worker, 5).await.unwrap();
    assert_eq!(claimed.len(), 2);
    assert_eq!(put(&db, Unique::while_live("k")).await, Enqueued::Existing(first.id()), "it runs");
    complete_done(&mut *db.conn().await, &[(first.id(), 1)], &[None]).await.unwrap();
    assert!(put(&db, Unique::while_live("k")).await.is_new());
}

#[tokio::test]
async fn a_waiting_job_keeps_its_slot_until_it_begins() {
    let db = TestDatabase::create().await;
    let first = put(&db, Unique::while_waiting("k")).await;
    assert_eq!(put(&db, Unique::while_waiting("k")).await, Enqueued::Existing(first.id()));
    claim(&mut *db.conn().await, QUEUE, register(db.pool()).await, 5).await.unwrap();
    let second = put(&db, Unique::while_waiting("k")).await;
    assert!(second.is_new());
    complete_done(&mut *db.conn().await, &[(first.id(), 1)], &[None]).await.unwrap();
    assert_eq!(
        put(&db, Unique::while_waiting("k")).await,
        Enqueued::Existing(second.id()),
        "not its slot any more"
    );
}

#[tokio::test]
async fn a_window_lasts_whatever_became_of_the_job() {
    let db = TestDatabase::create().await;
    let hour = Duration::from_hours(1);
    let first = put(&db, Unique::within("k", hour)).await;
    let both = put(&db, Unique::while_live("both").and_within(hour)).await;
    claim(&mut *db.conn().await, QUEUE, register(db.pool()).await, 5).await.unwrap();
    complete_done(&mut *db.conn().await, &[(first.id(), 1), (both.id(), 1)], &[None, None]).await.unwrap();
    assert_eq!(put(&db, Unique::within("k", hour)).await, Enqueued::Existing(first.id()));
    assert_eq!(put(&db, Unique::while_live("both")).await, Enqueued::Existing(both.id()));
    db.execute("update job_uniques set until = now() - interval '1 ms'").await;
    assert!(put(&db, Unique::within("k", hour)).await.is_new());
    assert!(put(&db, Unique::while_live("both")).await.is_new());
    // A live job keeps its slot beyond its window.
    let long = put(&db, Unique::while_live("long").and_within(hour)).await;
    db.execute("update job_uniques set until = now() - interval '1 ms'").await;
    assert_eq!(put(&db, Unique::while_live("long")).await, Enqueued::Existing(long.id()));
}

#[tokio::test]
async fn of_two_in_a_batch_the_first_is_enqueued_and_the_rest_of_the_batch_is_too() {
    let db = TestDatabase::create().await;
    let there = put(&db, Unique::while_live("there")).await;
    let options = [Some("a"), Some("there"), None, Some("b"), Some("a"), None]
        .map(|key| Enqueue { unique: key.map(Unique::while_live), ..Enqueue::default() });
    let probe = Probe::default();
    let answers = try_enqueue_all(&*db.conn().await, options.into_iter().map(|options| (&probe, options)))
        .await
        .unwrap();
    assert_eq!(answers[1], Enqueued::Existing(there.id()));
    assert_eq!(answers[4], Enqueued::Existing(answers[0].id()));
    assert_eq!(
        answers.iter().map(|answer| answer.is_new()).collect::<Vec<_>>(),
        [true, false, true, true, false, true]
    );
    assert_eq!(db.count("select count(*) as n from jobs").await, 5);
}

#[tokio::test]
async fn jobs_that_are_data_are_unique_too_and_kinds_do_not_share_keys() {
    let db = TestDatabase::create().await;
    let first = put(&db, Unique::while_live("k")).await;
    let raw = |kind: &str| RawJob { kind: kind.to_owned(), ..RawJob::of(&Probe::default()).unwrap() };
    let conn = db.conn().await;
    let same = try_enqueue_raw(&conn, raw("test.probe"), with(Unique::while_live("k"))).await.unwrap();
    assert_eq!(same, Enqueued::Existing(first.id()));
    assert!(try_enqueue_raw(&conn, raw("test.other"), with(Unique::while_live("k"))).await.unwrap().is_new());
}

#[tokio::test]
async fn keys_and_priorities_out_of_range_are_refused_and_nothing_is_written() {
    let db = TestDatabase::create().await;
    let conn = db.conn().await;
    for key in [String::new(), "k".repeat(501)] {
        let refused = try_enqueue(&conn, &Probe::default(), with(Unique::while_live(key))).await;
        assert!(matches!(refused, Err(EnqueueError::UniqueKey(0 | 501))));
    }
    for priority in [-1_001, 1_001] {
        let options = Enqueue { priority, ..Enqueue::default() };
        let refused = try_enqueue(&conn, &Probe::default(), options).await;
        assert!(matches!(refused, Err(EnqueueError::Priority(wrong)) if wrong == priority));
    }
    assert_eq!(db.count("select count(*) as n from jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_holder_that_rolls_back_has_the_slot() {
    let db = TestDatabase::create().await;
    let pool = db.pool().clone();
    let other = new_id();
    let waiter = db
        .conn()
        .await
        .transaction(async |conn| {
            let options = Enqueue { id: Some(other), ..with(Unique::while_live("k")) };
            assert!(try_enqueue(conn, &Probe::default(), options).await.unwrap().is_new());
            let waiter = tokio::spawn(async move {
                let conn = pool.get().await.unwrap();
                try_enqueue(&conn, &Probe::default(), with(Unique::while_live("k"))).await.unwrap()
            });
            until("the other waits", || async {
                db.count(
                    "select count(*) as n from pg_locks where not granted and locktype = 'transactionid'",
                )
                .await
                    > 0
            })
            .await;
            Err::<(), _>(Carry(waiter))
        })
        .await;
    let Err(Carry(waiter)) = waiter else { panic!("rolled back") };
    let got = waiter.await.unwrap();
    assert!(got.is_new() && got.id() != other);
}

/// Rolls back, and hands the task out.
struct Carry(tokio::task::JoinHandle<Enqueued>);

impl From<diesel::result::Error> for Carry {
    fn from(error: diesel::result::Error) -> Self {
        panic!("{error}")
    }
}

/// Enqueuers that roll back now and then, workers that fail now and then: of each key at most one is ever live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_two_live_jobs_of_a_key() {
    let db = TestDatabase::create().await;
    let done = Arc::new(AtomicBool::new(false));
    let (inserted, existing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let running: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let handler = {
        let running = Arc::clone(&running);
        move |job: Probe, context: JobContext| {
            let running = Arc::clone(&running);
            async move {
                let key = job.n.to_string();
                assert_eq!(running.lock().unwrap().insert(key.clone(), 1), None, "two run");
                tokio::task::yield_now().await;
                running.lock().unwrap().remove(&key);
                if rand::random::<f64>() < 0.2 && context.attempt < 3 {
                    return Err(waybill_jobs::Failure::retryable("now and then"));
                }
                Ok(Outcome::done())
            }
        }
    };
    let rig = Rig::start(&db, registry(handler), config());
    let enqueuers: Vec<_> = (0..4)
        .map(|_| {
            let (pool, done) = (db.pool().clone(), Arc::clone(&done));
            let (inserted, existing) = (Arc::clone(&inserted), Arc::clone(&existing));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let mut conn = pool.get().await.unwrap();
                    let keep = rand::random::<f64>() < 0.7;
                    let probes: Vec<_> =
                        (0..3).map(|_| Probe { n: rand::random_range(0..5), key: None }).collect();
                    let answers = conn
                        .transaction(async |conn| {
                            let jobs = probes.iter().map(|p| (p, with(Unique::while_live(p.n.to_string()))));
                            let answers = try_enqueue_all(conn, jobs).await.map_err(|e| e.to_string());
                            if keep || answers.is_err() {
                                Ok(answers)
                            } else {
                                Err(diesel::result::Error::RollbackTransaction)
                            }
                        })
                        .await;
                    // Rolled back on purpose.
                    let Ok(answers) = answers.map(Result::unwrap) else { continue };
                    for answer in answers {
                        let count = if answer.is_new() { &inserted } else { &existing };
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let twice =
        "select count(*) as n from (select unique_key from jobs group by 1 having count(*) > 1) twice";
    until("enough have run", || async {
        assert_eq!(db.count(twice).await, 0);
        db.count("select count(*) as n from job_history").await > 150
    })
    .await;
    done.store(true, Ordering::Relaxed);
    for enqueuer in enqueuers {
        enqueuer.await.unwrap();
    }
    until("all have run", || async { db.count("select count(*) as n from jobs").await == 0 }).await;
    rig.stop().await;
    assert_eq!(db.count("select count(*) as n from job_uniques").await, 0, "no slot is left behind");
    let new = i64::try_from(inserted.load(Ordering::Relaxed)).unwrap();
    assert_eq!(db.count("select count(*) as n from job_history where state = 'done'").await, new);
    assert!(existing.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn ids_of_simple_callers_are_those_of_the_job_that_does_the_work() {
    let db = TestDatabase::create().await;
    let first = put_with(&db, &Probe::default(), with(Unique::while_live("k"))).await;
    assert_eq!(put_with(&db, &Probe::default(), with(Unique::while_live("k"))).await, first);
}
