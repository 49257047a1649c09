//! How work is noticed.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use waybill_jobs::{
    Enqueue, JobContext, Notifier, Outcome, enqueue,
    postgres::{CHANNEL, promote::promote},
    runtime::WorkerConfig,
    testing::{TestDatabase, until},
};

use crate::rig::{Probe, Rig, config, put, put_with, registry, view, when};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_found_without_listen_and_without_hints() {
    let db = TestDatabase::create().await;
    let pooled = WorkerConfig { lock: false, listen: false, ..config() };
    let rig = Rig::start(&db, registry(async |_, _| Ok(Outcome::done())), pooled);
    for _ in 0..3 {
        let id = put(&db, &Probe::default()).await;
        when(&db, id, "done").await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn hints_of_a_busy_queue_are_sent_ever_more_seldom() {
    use futures::StreamExt;
    let db = TestDatabase::create().await;
    let mut listening =
        <diesel_async::AsyncPgConnection as diesel_async::AsyncConnection>::establish(db.url())
            .await
            .unwrap();
    diesel_async::SimpleAsyncConnection::batch_execute(&mut listening, &format!("listen {CHANNEL}"))
        .await
        .unwrap();
    let notifier = Notifier::start(db.pool().clone());
    let started = std::time::Instant::now();
    for _ in 0..200 {
        notifier.hint("a");
        notifier.hint("b");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = started.elapsed();
    notifier.hint("last");
    let mut heard = std::collections::HashMap::<String, u128>::new();
    let mut stream = std::pin::pin!(listening.notifications_stream());
    // Pauses of 2, 4, 8 and 16 ms, and 20 ms from then on; what was sent before 'last' is counted.
    while !heard.contains_key("last") {
        let notification = stream.next().await.unwrap().unwrap();
        *heard.entry(notification.payload).or_default() += 1;
    }
    for queue in ["a", "b"] {
        let count = heard[queue];
        assert!(count >= 1 && count <= took.as_millis() / 20 + 6, "{count} in {took:?}");
    }
}

#[tokio::test]
async fn due_jobs_are_queued_and_the_next_one_is_announced() {
    let db = TestDatabase::create().await;
    let at =
        |millis| Enqueue { run_at: Some(Utc::now() + TimeDelta::milliseconds(millis)), ..Enqueue::default() };
    let soon = put_with(&db, &Probe::default(), at(60_000)).await;
    let late = put_with(&db, &Probe::default(), at(3_600_000)).await;
    let mut conn = db.conn().await;
    let promoted = promote(&mut conn).await.unwrap();
    assert!(promoted.queues.is_empty());
    let wait = promoted.next_in.unwrap();
    assert!(wait <= Duration::from_mins(1) && wait > Duration::from_secs(30), "{wait:?}");
    db.execute(&format!("update jobs set run_at = now() - interval '1 s' where id = '{soon}'")).await;
    let promoted = promote(&mut conn).await.unwrap();
    assert_eq!(promoted.queues, ["test"]);
    assert!(promoted.next_in.unwrap() > Duration::from_mins(50));
    assert_eq!(view(&db, soon).await.state, "queued");
    assert_eq!(view(&db, late).await.state, "scheduled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_handler_enqueues_runs_on() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe { n: 5, key: None }).await;
    let handler = async |job: Probe, context: JobContext| {
        if job.n > 0 {
            let next = Probe { n: job.n - 1, key: None };
            enqueue(&*context.pool.get().await?, &next).await?;
        }
        Ok(Outcome::done())
    };
    let rig = Rig::start(&db, registry(handler), config());
    when(&db, id, "done").await;
    until("the chain has run", || async {
        db.count("select count(*) as n from job_history where state = 'done'").await == 6
    })
    .await;
    rig.stop().await;
}
