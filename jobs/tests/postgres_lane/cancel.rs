//! Cancelling what waits, what runs, and what has begun and can be undone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_jobs::{
    Cancelled, Enqueue, Failure, Job, JobContext, JobResult, Outcome, Policy, Registry, cancel,
    cancel::{Cancellations, Filter, cancel_where},
    enqueue, status,
    testing::{TestDatabase, until},
};
use waybill_schema::new_id;

use crate::rig::{Mortal, Probe, QUEUE, Rig, config, outcomes, put, put_with, registry, view, when};

async fn hangs(_: Probe, _: JobContext) -> JobResult {
    std::future::pending().await
}

async fn wants_no_more(db: &TestDatabase, id: Uuid) -> Cancelled {
    cancel(&mut *db.conn().await, id, "somebody", "not wanted").await.unwrap()
}

#[tokio::test]
async fn a_job_that_waits_is_over_at_once() {
    let db = TestDatabase::create().await;
    let queued = put(&db, &Probe::default()).await;
    let later =
        Enqueue { run_at: Some(chrono::Utc::now() + chrono::TimeDelta::hours(1)), ..Enqueue::default() };
    let scheduled = put_with(&db, &Probe::default(), later).await;
    for id in [queued, scheduled] {
        assert_eq!(wants_no_more(&db, id).await, Cancelled::Done);
        let view = view(&db, id).await;
        assert_eq!((view.state.as_str(), view.reason.as_deref()), ("cancelled", Some("not wanted")));
        assert_eq!(view.failures[0]["by"], "somebody");
        assert_eq!(wants_no_more(&db, id).await, Cancelled::NotLive("cancelled".to_owned()));
    }
    assert_eq!(wants_no_more(&db, new_id()).await, Cancelled::Unknown);
}

#[tokio::test]
async fn a_wish_that_is_rolled_back_was_never_made() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let mut conn = db.conn().await;
    diesel_async::SimpleAsyncConnection::batch_execute(&mut *conn, "begin").await.unwrap();
    assert_eq!(cancel(&mut conn, id, "somebody", "a mistake").await.unwrap(), Cancelled::Done);
    diesel_async::SimpleAsyncConnection::batch_execute(&mut *conn, "rollback").await.unwrap();
    assert_eq!(view(&db, id).await.state, "queued");
}

#[tokio::test]
async fn a_handler_that_is_asked_may_end_by_itself() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let handler = async |_: Probe, context: JobContext| -> JobResult {
        context.cancelled.cancelled().await;
        Err(Failure::retryable("I stop"))
    };
    // Nothing but the hint: no heartbeat comes for a long time.
    let patient = waybill_jobs::runtime::WorkerConfig {
        heartbeat: Duration::from_mins(5),
        lease: Duration::from_hours(1),
        cancel_grace: Duration::from_mins(5),
        ..config()
    };
    let rig = Rig::start(&db, registry(handler), patient);
    when(&db, id, "running").await;
    assert_eq!(wants_no_more(&db, id).await, Cancelled::Asked);
    let view = when(&db, id, "cancelled").await;
    assert_eq!((view.reason.as_deref(), view.attempt), (Some("not wanted"), 1));
    assert_eq!(outcomes(&view), ["cancelled"]);
    assert!(view.failures[0]["error"].as_str().unwrap().contains("I stop"));
    rig.stop().await;
}

#[tokio::test]
async fn a_handler_that_does_not_listen_is_dropped_after_the_grace() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    // Nothing but the heartbeat: no hint is heard.
    let deaf = waybill_jobs::runtime::WorkerConfig { listen: false, ..config() };
    let rig = Rig::start(&db, registry(hangs), deaf);
    when(&db, id, "running").await;
    assert_eq!(wants_no_more(&db, id).await, Cancelled::Asked);
    let view = when(&db, id, "cancelled").await;
    assert_eq!(view.reason.as_deref(), Some("not wanted"));
    rig.stop().await;
}

#[tokio::test]
async fn a_handler_that_is_done_all_the_same_was_first() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let handler = async |_: Probe, context: JobContext| -> JobResult {
        context.cancelled.cancelled().await;
        Ok(Outcome::done())
    };
    let rig = Rig::start(&db, registry(handler), config());
    when(&db, id, "running").await;
    assert_eq!(wants_no_more(&db, id).await, Cancelled::Asked);
    when(&db, id, "done").await;
    assert_eq!(wants_no_more(&db, id).await, Cancelled::NotLive("done".to_owned()));
    rig.stop().await;
}

#[tokio::test]
async fn no_way_back_into_the_queue_and_none_to_the_dead_leads_past_the_wish() {
    for n in 0..4 {
        let db = TestDatabase::create().await;
        let id = put(&db, &Probe { n, key: None }).await;
        let handler = async |job: Probe, context: JobContext| -> JobResult {
            // The wish is in the table, and this worker has not heard of it.
            let mut conn = context.pool.get().await?;
            cancel(&mut conn, context.id, "itself", "not wanted").await?;
            match job.n {
                0 => Ok(Outcome::RetryIn { after: Duration::from_hours(1), reason: "again".to_owned() }),
                1 => Ok(Outcome::Snooze { after: Duration::from_hours(1), reason: "later".to_owned() }),
                2 => Err(Failure::permanent("never")),
                _ => Ok(Outcome::Cancel("not wanted".to_owned())),
            }
        };
        let deaf = waybill_jobs::runtime::WorkerConfig {
            listen: false,
            heartbeat: Duration::from_secs(4),
            ..config()
        };
        let rig = Rig::start(&db, registry(handler), deaf);
        assert_eq!(when(&db, id, "cancelled").await.reason.as_deref(), Some("not wanted"), "{n}");
        rig.stop().await;
        assert_eq!(db.count("select count(*) as n from jobs").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_worker_dies_after_it_was_asked_does_not_come_back() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    // Never told, and never dropped: only the reaper can end it.
    let deaf = waybill_jobs::runtime::WorkerConfig {
        listen: false,
        heartbeat: Duration::from_mins(5),
        lease: Duration::from_hours(1),
        ..config()
    };
    let dying = Mortal::start(&db, registry(hangs), deaf.clone());
    when(&db, id, "running").await;
    assert_eq!(wants_no_more(&db, id).await, Cancelled::Asked);
    let living = Rig::start(&db, registry(async |_, _| Ok(Outcome::done())), config());
    dying.kill();
    let view = when(&db, id, "cancelled").await;
    assert_eq!((view.attempt, outcomes(&view)), (1, vec!["worker_lost".to_owned()]));
    living.stop().await;
}

#[tokio::test]
async fn many_are_cancelled_by_what_they_are_and_no_more_than_the_limit() {
    let db = TestDatabase::create().await;
    let trail = new_id();
    for n in 0..5 {
        let options = Enqueue { correlation_id: (n < 3).then_some(trail), ..Enqueue::default() };
        put_with(&db, &Probe { n, key: None }, options).await;
    }
    let filter = Filter {
        kind: Some(Probe::KIND.to_owned()),
        queue: Some(QUEUE.to_owned()),
        correlation_id: Some(trail),
        ..Filter::default()
    };
    let mut totals = Vec::new();
    loop {
        let done = cancel_where(&mut *db.conn().await, &filter, 2, "somebody", "all of it").await.unwrap();
        if done == Cancellations::default() {
            break;
        }
        totals.push(done.total());
    }
    assert_eq!(totals, [2, 1]);
    assert_eq!(db.count("select count(*) as n from jobs").await, 2);
}

/// Takes something, and can give it back.
#[derive(Serialize, Deserialize)]
struct Take;

impl Job for Take {
    const KIND: &'static str = "test.take";
    const QUEUE: &'static str = QUEUE;
    const COMPENSATES: bool = true;
    const POLICY: Policy = Policy {
        max_attempts: 2,
        backoff: Duration::from_millis(10),
        backoff_cap: Duration::from_millis(10),
        timeout: Duration::from_secs(30),
    };
}

/// Takes and hangs; gives back at the attempt `at`, and never if that is beyond the attempts.
fn takes(undone: &Arc<AtomicUsize>, at: i16) -> Registry {
    let undone = Arc::clone(undone);
    Registry::new().job_with_compensation::<Take>(
        async |_: Take, context: JobContext| -> JobResult {
            context.cancelled.cancelled().await;
            Err(Failure::retryable("asked"))
        },
        move |_: Take, context: JobContext| {
            let undone = Arc::clone(&undone);
            async move {
                assert!(context.undo);
                if context.attempt < at {
                    return Err(Failure::retryable("not yet"));
                }
                undone.fetch_add(1, Ordering::SeqCst);
                Ok(Outcome::done())
            }
        },
    )
}

#[tokio::test]
async fn a_cancelled_job_that_had_begun_is_undone_with_attempts_of_its_own() {
    let db = TestDatabase::create().await;
    let undone = Arc::new(AtomicUsize::new(0));
    let id = enqueue(&*db.conn().await, &Take).await.unwrap();
    let rig = Rig::start(&db, takes(&undone, 2), config());
    when(&db, id, "running").await;
    assert_eq!(wants_no_more(&db, id).await, Cancelled::Asked);
    let view = when(&db, id, "cancelled").await;
    assert_eq!(outcomes(&view), ["cancelled", "failed"]);
    assert_eq!((view.attempt, view.reason.as_deref()), (2, Some("not wanted")));
    assert_eq!(undone.load(Ordering::SeqCst), 1);
    rig.stop().await;
}

#[tokio::test]
async fn one_that_waits_for_its_retry_is_undone_and_one_that_never_ran_is_not() {
    let db = TestDatabase::create().await;
    let undone = Arc::new(AtomicUsize::new(0));
    let (begun, fresh) =
        (enqueue(&*db.conn().await, &Take).await.unwrap(), enqueue(&*db.conn().await, &Take).await.unwrap());
    db.execute(&format!(
        "update jobs set attempt = 1, state = 'scheduled', run_at = now() + interval '1 hour' where id = '{begun}'"
    ))
    .await;
    assert_eq!(wants_no_more(&db, begun).await, Cancelled::Undoing);
    assert_eq!(wants_no_more(&db, begun).await, Cancelled::Undoing, "it is on its way");
    assert_eq!(wants_no_more(&db, fresh).await, Cancelled::Done);
    let rig = Rig::start(&db, takes(&undone, 1), config());
    when(&db, begun, "cancelled").await;
    assert_eq!(undone.load(Ordering::SeqCst), 1);
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_undone_is_a_dead_letter_whose_retry_undoes_it() {
    let db = TestDatabase::create().await;
    let undone = Arc::new(AtomicUsize::new(0));
    let id = enqueue(&*db.conn().await, &Take).await.unwrap();
    let rig = Rig::start(&db, takes(&undone, 9), config());
    when(&db, id, "running").await;
    wants_no_more(&db, id).await;
    assert!(when(&db, id, "dead").await.undo);
    rig.stop().await;
    assert!(status::retry_dead(&mut *db.conn().await, id).await.unwrap());
    let rig = Rig::start(&db, takes(&undone, 1), config());
    when(&db, id, "cancelled").await;
    assert_eq!(undone.load(Ordering::SeqCst), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compensation_outlives_the_worker_it_kills() {
    let db = TestDatabase::create().await;
    let undone = Arc::new(AtomicUsize::new(0));
    let id = enqueue(&*db.conn().await, &Take).await.unwrap();
    let hanging = Registry::new().job_with_compensation::<Take>(
        async |_: Take, _: JobContext| std::future::pending().await,
        async |_: Take, _: JobContext| std::future::pending().await,
    );
    let dying = Mortal::start(&db, hanging, config());
    when(&db, id, "running").await;
    wants_no_more(&db, id).await;
    until("it is being undone", || async {
        let view = view(&db, id).await;
        view.undo && view.state == "running"
    })
    .await;
    dying.kill();
    let living = Rig::start(&db, takes(&undone, 1), config());
    let view = when(&db, id, "cancelled").await;
    assert_eq!(outcomes(&view).last().map(String::as_str), Some("worker_lost"));
    assert_eq!(undone.load(Ordering::SeqCst), 1);
    living.stop().await;
}
