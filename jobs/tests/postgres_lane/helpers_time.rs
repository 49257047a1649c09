//! The helpers for the tests of others: time, and what never ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use waybill_jobs::{
    Clock, Enqueue, Failure, Job, JobContext, JobResult, Outcome, Policy, Registry, enqueue, enqueue_with,
    testing::{TestDatabase, advance, advance_to, assert_no_leftovers, drain, enqueued_as},
};

use crate::rig::{Probe, QUEUE, put, put_with, registry};

const HOUR: Duration = Duration::from_hours(1);

fn clock() -> Clock {
    Clock::frozen_at("2099-05-01T12:00:00Z".parse().unwrap())
}

#[tokio::test]
async fn with_a_clock_that_stands_still_jobs_run_when_it_is_moved_and_in_their_order() {
    let db = TestDatabase::create().await;
    let clock = clock();
    // Each enqueues the next one an hour later, and says what time it is.
    let handler = async |job: Probe, context: JobContext| {
        if job.n > 0 {
            let later = Enqueue { run_at: Some(context.now() + HOUR), ..Enqueue::default() };
            let next = Probe { n: job.n - 1, key: None };
            enqueue_with(&*context.pool.get().await?, &next, later).await?;
        }
        Ok(Outcome::Done(Some(context.now().to_rfc3339().into())))
    };
    let registry = registry(handler).with_clock(clock.clone());
    put(&db, &Probe { n: 2, key: None }).await;
    assert_eq!(drain(db.pool(), &registry, QUEUE).await.len(), 1);
    assert_eq!(advance(db.pool(), &clock, HOUR / 2).await, 0);
    assert!(drain(db.pool(), &registry, QUEUE).await.is_empty());
    for _ in 0..2 {
        assert_eq!(advance(db.pool(), &clock, HOUR).await, 1);
        assert_eq!(drain(db.pool(), &registry, QUEUE).await.len(), 1);
    }
    assert_no_leftovers(db.pool()).await;
    let said = db
        .count(
            "select count(*) as n from job_history where result #>> '{}' in
                 ('2099-05-01T12:00:00+00:00', '2099-05-01T13:30:00+00:00', '2099-05-01T14:30:00+00:00')",
        )
        .await;
    assert_eq!(said, 3);
}

#[tokio::test]
async fn retries_wait_by_the_clock_that_stands_still() {
    let db = TestDatabase::create().await;
    let clock = clock();
    let handler = async |_: Probe, context: JobContext| match context.attempt {
        1 => Ok(Outcome::RetryIn { after: HOUR, reason: "later".to_owned() }),
        _ => Ok(Outcome::done()),
    };
    let registry = registry(handler).with_clock(clock.clone());
    put(&db, &Probe::default()).await;
    let ran = drain(db.pool(), &registry, QUEUE).await;
    assert_eq!((ran[0].outcome, ran[0].error.as_deref()), ("retried", Some("later")));
    assert_eq!(enqueued_as::<Probe>(db.pool()).await[0].run_at, clock.now() + HOUR);
    advance(db.pool(), &clock, HOUR).await;
    assert_eq!(drain(db.pool(), &registry, QUEUE).await[0].outcome, "done");
}

#[tokio::test]
async fn what_becomes_due_together_keeps_its_order() {
    let db = TestDatabase::create().await;
    let now = chrono::Utc::now();
    for n in [2, 0, 1] {
        let run_at = Some(now + HOUR + Duration::from_secs(n));
        put_with(&db, &Probe { n: n.cast_signed(), key: None }, Enqueue { run_at, ..Enqueue::default() })
            .await;
    }
    assert_eq!(advance_to(db.pool(), now + 2 * HOUR).await, 3);
    let registry = registry(async |job: Probe, _: JobContext| Ok(Outcome::Done(Some(job.n.into()))));
    drain(db.pool(), &registry, QUEUE).await;
    let ordered =
        "select count(*) as n from (select result, lag(result) over (order by finished_at) as before
                       from job_history) h where result > before";
    assert_eq!(db.count(ordered).await, 2);
}

#[tokio::test]
#[should_panic(expected = "is not over after 100 runs")]
async fn a_drain_that_finds_no_end_says_so() {
    let db = TestDatabase::create().await;
    put(&db, &Probe::default()).await;
    let never = async |_: Probe, _: JobContext| {
        Ok(Outcome::Snooze { after: Duration::ZERO, reason: "not yet".to_owned() })
    };
    drain(db.pool(), &registry(never), QUEUE).await;
}

#[derive(Serialize, Deserialize)]
struct Slow;

impl Job for Slow {
    const KIND: &'static str = "test.slow";
    const QUEUE: &'static str = QUEUE;
    const POLICY: Policy = Policy { max_attempts: 1, timeout: Duration::from_millis(20), ..Policy::DEFAULT };
}

#[tokio::test]
async fn a_drain_has_the_timeouts_of_a_worker_and_catches_what_it_catches() {
    let db = TestDatabase::create().await;
    enqueue(&*db.conn().await, &Slow).await.unwrap();
    let hangs = async |_: Slow, _: JobContext| -> JobResult { std::future::pending().await };
    let ran = drain(db.pool(), &Registry::new().job::<Slow>(hangs), QUEUE).await;
    assert_eq!((ran[0].outcome, ran[0].error.as_deref()), ("dead", Some("timed out after 20ms")));

    enqueue(&*db.conn().await, &Slow).await.unwrap();
    let stops = async |_: Slow, context: JobContext| -> JobResult {
        context.cancelled.cancelled().await;
        Err(Failure::retryable("stopped"))
    };
    let ran = drain(db.pool(), &Registry::new().job::<Slow>(stops), QUEUE).await;
    assert_eq!(ran[0].error.as_deref(), Some("timed out after 20ms: stopped"));

    put(&db, &Probe::default()).await;
    let breaks = async |job: Probe, _: JobContext| -> JobResult { panic!("it breaks at {}", job.n) };
    let ran = drain(db.pool(), &registry(breaks), QUEUE).await;
    assert_eq!((ran[0].outcome, ran[0].error.as_deref()), ("retried", Some("panicked: it breaks at 0")));
}
