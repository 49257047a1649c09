//! What becomes of a job for each way its handler may end.

use std::time::Duration;

use serde_json::json;
use waybill_jobs::{Failure, JobContext, JobResult, Outcome, Registry, testing::TestDatabase};

use crate::rig::{Probe, Rig, config, outcomes, put, registry, when};

/// Runs one probe to `state` with a worker of its own.
async fn run<F, Fut>(state: &str, handler: F) -> (TestDatabase, waybill_jobs::status::JobView)
where
    F: Fn(Probe, JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = JobResult> + Send + 'static,
{
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let rig = Rig::start(&db, registry(handler), config());
    let view = when(&db, id, state).await;
    rig.stop().await;
    assert_eq!(db.count("select count(*) as n from workers").await, 0, "a worker leaves no row");
    (db, view)
}

#[tokio::test]
async fn done_goes_to_the_history_with_its_result() {
    let (db, view) = run("done", async |_, _| Ok(Outcome::Done(Some(json!({"rows": 3}))))).await;
    assert_eq!(view.result, Some(json!({"rows": 3})));
    assert_eq!((view.attempt, outcomes(&view).len()), (1, 0));
    assert_eq!(db.count("select count(*) as n from jobs").await, 0);
}

#[tokio::test]
async fn a_result_that_jsonb_cannot_hold_is_mended() {
    let (_, view) = run("done", async |_, _| Ok(Outcome::Done(Some(json!({"a\0": ["b\0"]}))))).await;
    assert_eq!(view.result, Some(json!({"a\u{fffd}": ["b\u{fffd}"]})));
}

#[tokio::test]
async fn a_failure_is_tried_again_and_its_history_is_kept() {
    let (_, view) = run("done", async |_, context: JobContext| match context.attempt {
        1 => Err(Failure::retryable("first")),
        2 => Ok(Outcome::RetryIn { after: Duration::from_millis(10), reason: "second".to_owned() }),
        _ => Ok(Outcome::done()),
    })
    .await;
    assert_eq!(view.attempt, 3);
    assert_eq!(outcomes(&view), ["failed", "retry"]);
    assert_eq!(view.failures[0]["error"], "first");
    assert_eq!(view.failures[1]["error"], "second");
}

#[tokio::test]
async fn a_retry_waits_in_the_table_not_in_the_process() {
    let (_, view) = run("scheduled", async |_, _| {
        Ok(Outcome::RetryIn { after: Duration::from_hours(1), reason: "later".to_owned() })
    })
    .await;
    let wait = view.run_at - chrono::Utc::now();
    assert!((3_500..=3_600).contains(&wait.num_seconds()), "{wait}");
    assert_eq!((view.attempt, view.worker_id), (1, None));
}

#[tokio::test]
async fn attempts_used_up_make_a_dead_letter() {
    let (db, view) = run("dead", async |_, _| Err(Failure::retryable("never"))).await;
    assert_eq!(view.attempt, 3);
    assert_eq!(outcomes(&view), ["failed", "failed", "failed"]);
    assert_eq!(view.reason.as_deref(), Some("attempts used up"));
    // An operator sends it round again, with all attempts anew.
    let rig = Rig::start(&db, registry(async |_, _| Ok(Outcome::done())), config());
    assert!(waybill_jobs::status::retry_dead(&mut *db.conn().await, view.id).await.unwrap());
    let again = when(&db, view.id, "done").await;
    assert_eq!((again.attempt, outcomes(&again).len()), (1, 3));
    assert!(!waybill_jobs::status::retry_dead(&mut *db.conn().await, view.id).await.unwrap());
    rig.stop().await;
}

#[tokio::test]
async fn a_permanent_failure_is_a_dead_letter_at_once() {
    let (_, view) = run("dead", async |_, _| Err(Failure::permanent("no such order"))).await;
    assert_eq!((view.attempt, view.reason.as_deref()), (1, Some("permanent failure")));
    assert_eq!(view.failures[0]["error"], "no such order");
}

#[tokio::test]
async fn a_snooze_spends_no_attempt() {
    let (_, view) = run("done", async |_, context: JobContext| {
        if context.snoozes < 5 {
            return Ok(Outcome::Snooze { after: Duration::from_millis(1), reason: "not yet".to_owned() });
        }
        Ok(Outcome::done())
    })
    .await;
    assert_eq!((view.attempt, view.snoozes), (1, 5));
    assert_eq!(outcomes(&view), ["snoozed"; 5]);
}

#[tokio::test]
async fn cancelled_and_discarded_jobs_go_to_the_history_with_the_reason() {
    let (_, view) = run("cancelled", async |_, _| Ok(Outcome::Cancel("not wanted".to_owned()))).await;
    assert_eq!(view.reason.as_deref(), Some("not wanted"));
    let (_, view) = run("discarded", async |_, _| Ok(Outcome::Discard("makes no sense".to_owned()))).await;
    assert_eq!(view.reason.as_deref(), Some("makes no sense"));
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_ends_nothing_else() {
    let (_, view) = run("done", async |_, context: JobContext| {
        assert_ne!(context.attempt, 1, "the first one breaks");
        Ok(Outcome::done())
    })
    .await;
    assert_eq!(outcomes(&view), ["panicked"]);
    assert!(
        view.failures[0]["error"].as_str().unwrap().contains("the first one breaks"),
        "{}",
        view.failures
    );
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_a_dead_letter_with_the_reason() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    db.execute("update jobs set payload = '{\"n\": \"many\"}'").await;
    let rig = Rig::start(&db, registry(async |_, _| Ok(Outcome::done())), config());
    let view = when(&db, id, "dead").await;
    assert_eq!(view.attempt, 1);
    let error = view.failures[0]["error"].as_str().unwrap();
    assert!(error.contains("payload of test.probe cannot be read"), "{error}");
    rig.stop().await;
}

mod timeouts {
    use super::{
        Duration, Failure, JobContext, JobResult, Outcome, Probe, Registry, Rig, TestDatabase, config,
        outcomes, when,
    };
    use serde::{Deserialize, Serialize};
    use waybill_jobs::{Job, Policy, enqueue};

    #[derive(Serialize, Deserialize)]
    struct Slow {
        heeds: bool,
    }

    impl Job for Slow {
        const KIND: &'static str = "test.slow";
        const QUEUE: &'static str = Probe::QUEUE;
        const POLICY: Policy = Policy {
            max_attempts: 2,
            backoff: Duration::from_millis(1),
            backoff_cap: Duration::from_millis(1),
            timeout: Duration::from_millis(50),
        };
    }

    async fn slow(job: Slow, context: JobContext) -> JobResult {
        if context.attempt == 2 {
            return Ok(Outcome::done());
        }
        if job.heeds {
            context.cancelled.cancelled().await;
            return Err(Failure::retryable("stopped at row 7"));
        }
        std::future::pending().await
    }

    #[tokio::test]
    async fn a_handler_that_takes_too_long_is_asked_to_stop_then_dropped() {
        let db = TestDatabase::create().await;
        let rig = Rig::start(&db, Registry::new().job::<Slow>(slow), config());
        for heeds in [true, false] {
            let id = enqueue(&*db.conn().await, &Slow { heeds }).await.unwrap();
            let view = when(&db, id, "done").await;
            assert_eq!(outcomes(&view), ["timed_out"]);
            let error = view.failures[0]["error"].as_str().unwrap();
            assert!(error.starts_with("timed out after 50ms"), "{error}");
            assert_eq!(error.contains("stopped at row 7"), heeds, "{error}");
        }
        rig.stop().await;
    }
}
