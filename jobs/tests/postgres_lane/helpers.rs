//! The helpers for the tests of others.

use waybill_jobs::{
    Failure, JobContext, Outcome, enqueue, status,
    testing::{
        TestDatabase, advance_to, assert_enqueued, assert_no_leftovers, drain, enqueued_as, leftovers,
        refute_enqueued, run_inline, run_one,
    },
};
use waybill_schema::new_id;

use crate::rig::{Probe, QUEUE, put, registry};

#[tokio::test]
async fn drain_runs_a_queue_with_what_its_jobs_enqueue() {
    let db = TestDatabase::create().await;
    put(&db, &Probe { n: 2, key: None }).await;
    let handler = async |job: Probe, context: JobContext| {
        if job.n == 0 {
            return Err(Failure::permanent("the last one"));
        }
        enqueue(&*context.pool.get().await?, &Probe { n: job.n - 1, key: None }).await?;
        Ok(Outcome::done())
    };
    assert_enqueued::<Probe>(db.pool(), |probe| probe.n == 2).await;
    let ran = drain(db.pool(), &registry(handler), QUEUE).await;
    assert_eq!(ran.iter().map(|ran| ran.outcome).collect::<Vec<_>>(), ["done", "done", "dead"]);
    assert_eq!(ran[2].error.as_deref(), Some("the last one"));
    assert_eq!(leftovers(db.pool()).await, [("test.probe".to_owned(), "dead".to_owned(), 1)]);
}

#[tokio::test]
async fn one_job_can_be_run_before_its_time() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let handler = async |_: Probe, context: JobContext| match context.attempt {
        1 => Err(Failure::retryable("once")),
        _ => Ok(Outcome::done()),
    };
    let registry = registry(handler);
    assert_eq!(run_one(db.pool(), &registry, id).await.outcome, "retried");
    assert!(drain(db.pool(), &registry, QUEUE).await.is_empty(), "its retry waits");
    assert_eq!(run_one(db.pool(), &registry, id).await.outcome, "done");
    assert_no_leftovers(db.pool()).await;
}

#[tokio::test]
#[should_panic(expected = "no test.probe matches")]
async fn a_job_that_was_not_enqueued_fails_the_test() {
    let db = TestDatabase::create().await;
    put(&db, &Probe::default()).await;
    assert_enqueued::<Probe>(db.pool(), |probe| probe.n == 1).await;
}

#[tokio::test]
#[should_panic(expected = "jobs are left")]
async fn a_forgotten_job_fails_the_test() {
    let db = TestDatabase::create().await;
    put(&db, &Probe::default()).await;
    assert_no_leftovers(db.pool()).await;
}

#[tokio::test]
async fn a_job_is_found_by_its_owner_and_by_nobody_else() {
    let db = TestDatabase::create().await;
    let owner = new_id();
    let options = waybill_jobs::Enqueue { owner_id: Some(owner), ..waybill_jobs::Enqueue::default() };
    let id = crate::rig::put_with(&db, &Probe::default(), options).await;
    let mut conn = db.conn().await;
    assert!(status::find_for_owner(&mut conn, owner, id).await.unwrap().is_some());
    assert!(status::find_for_owner(&mut conn, new_id(), id).await.unwrap().is_none());
    assert!(status::find(&mut conn, new_id()).await.unwrap().is_none());
    let counts = status::counts(&mut conn).await.unwrap();
    assert_eq!((counts.len(), counts[0].state.as_str(), counts[0].jobs), (1, "queued", 1));
}

#[tokio::test]
async fn a_job_runs_inline_and_leaves_nothing_but_its_effects() {
    let db = TestDatabase::create().await;
    let handler = async |job: Probe, context: JobContext| {
        context.guard(&mut *context.pool.get().await?).await?;
        if job.n == 0 { Err(Failure::retryable("no number")) } else { Ok(Outcome::Done(Some(job.n.into()))) }
    };
    let registry = registry(handler);
    let said = run_inline(db.pool(), &registry, &Probe { n: 3, key: None }).await.unwrap();
    assert!(matches!(said, Outcome::Done(Some(n)) if n == 3));
    let failed = run_inline(db.pool(), &registry, &Probe::default()).await.unwrap_err();
    assert_eq!(failed.message, "no number");
    assert_no_leftovers(db.pool()).await;
}

#[tokio::test]
async fn scheduled_jobs_run_when_the_test_says_that_their_time_has_come() {
    let db = TestDatabase::create().await;
    let now = chrono::Utc::now();
    for hours in [1, 48] {
        let run_at = Some(now + chrono::TimeDelta::hours(hours));
        let options = waybill_jobs::Enqueue { run_at, priority: 7, ..waybill_jobs::Enqueue::default() };
        crate::rig::put_with(&db, &Probe { n: hours, key: None }, options).await;
    }
    let registry = registry(async |_: Probe, _: JobContext| Ok(Outcome::done()));
    assert!(drain(db.pool(), &registry, QUEUE).await.is_empty());
    assert_eq!(advance_to(db.pool(), now + chrono::TimeDelta::days(1)).await, 1);
    assert_eq!(drain(db.pool(), &registry, QUEUE).await.len(), 1);
    let left = enqueued_as::<Probe>(db.pool()).await;
    assert_eq!(
        (left.len(), left[0].job.n, left[0].state.as_str(), left[0].priority),
        (1, 48, "scheduled", 7)
    );
    refute_enqueued::<Probe>(db.pool(), |job| job.n == 1).await;
}
