//! Flows that somebody else has locked: they are left, the others go on, and they are come back to.

use std::time::{Duration, Instant};

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection, pooled_connection::bb8::PooledConnection};
use uuid::Uuid;
use waybill_jobs::{
    Batch, Workflow, flows,
    flows::sweep,
    runtime::WorkerConfig,
    testing::{TestDatabase, until},
};

use crate::{
    flows::{Step, flow, flow_when, kinds, note, step, world},
    rig::{Probe, QUEUE, Rig, config},
};

/// Batches that are over, which nobody but a sweep knows.
async fn left_behind(db: &TestDatabase, batches: usize) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for _ in 0..batches {
        let batch = Batch::new("left").when_over(&note("over")).open(&mut *db.conn().await).await.unwrap();
        ids.push(batch);
    }
    db.execute("update flows set sealed = true where not sealed").await;
    ids
}

/// Locks rows as somebody with an open session does who goes to lunch: not ours, which the server would end.
async fn lunch<'a>(db: &'a TestDatabase, locks: &str) -> PooledConnection<'a, AsyncPgConnection> {
    let mut session = db.conn().await;
    let begin = "set idle_in_transaction_session_timeout = 0; begin;";
    session.batch_execute(&format!("{begin} {locks}")).await.unwrap();
    session
}

/// A worker that never looks for flows, so that what its jobs' ends lead to is all that happens.
fn without_sweep() -> WorkerConfig {
    WorkerConfig { reap_every: Duration::from_hours(1), ..config() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_goes_round_what_others_have_locked_and_comes_back() {
    let db = world().await;
    let batches = left_behind(&db, 3).await;
    // One whose own row is free, but not that of the job that has to be cancelled.
    let unwanted = Workflow::new("unwanted")
        .step("one", &Step { hangs: true, ..step("one") })
        .start(&mut *db.conn().await)
        .await
        .unwrap();
    db.execute(&format!("update flows set cancel = '{{}}' where id = '{unwanted}'")).await;
    let first = batches[0];
    let locks = format!(
        "select from flows where id = '{first}' for update; select from jobs where flow_id = '{unwanted}' for update"
    );
    let mut lunch = lunch(&db, &locks).await;
    let started = Instant::now();
    // The last of them lies behind the others.
    let last = left_behind(&db, 1).await[0];
    let rig = Rig::start(&db, kinds(), WorkerConfig { queues: vec![("idle".to_owned(), 1)], ..config() });
    for id in batches[1..].iter().chain([&last]) {
        flow_when(&db, *id, "done").await;
    }
    // Less than a statement on a locked row may wait, and than a round of the sweep may take.
    let took = started.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(flow(&db, first).await.state, "running");
    assert_eq!(flow(&db, unwanted).await.state, "running");
    lunch.batch_execute("rollback").await.unwrap();
    flow_when(&db, first, "done").await;
    flow_when(&db, unwanted, "cancelled").await;
    rig.stop().await;
    let called = "select count(distinct causation_id) as n from jobs where kind = 'test.note'";
    assert_eq!(db.count(called).await, 4);
    assert_eq!(db.count("select count(*) as n from jobs").await, 4);
}

#[tokio::test]
async fn a_sweep_of_locked_flows_alone_ends_at_once_and_changes_nothing() {
    let db = world().await;
    left_behind(&db, 600).await;
    let mut lunch = lunch(&db, "select from flows for update").await;
    let started = Instant::now();
    assert!(sweep(&mut *db.conn().await).await.unwrap().is_empty());
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    lunch.batch_execute("rollback").await.unwrap();
    assert_eq!(sweep(&mut *db.conn().await).await.unwrap(), [QUEUE]);
    assert_eq!(db.count("select count(*) as n from flows where state = 'done'").await, 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_flow_holds_up_none_whose_jobs_end_after_its_own() {
    let db = world().await;
    let (locked, free) = (
        Workflow::new("locked").step("one", &step("one")).then("two", &step("two")),
        Workflow::new("free").step("one", &step("one")).then("two", &step("two")),
    );
    let locked = locked.start(&mut *db.conn().await).await.unwrap();
    let free = free.start(&mut *db.conn().await).await.unwrap();
    assert!(locked < free, "looked after in this order");
    let mut lunch = lunch(&db, &format!("select from flows where id = '{locked}' for update")).await;
    let rig = Rig::start(&db, kinds(), without_sweep());
    flow_when(&db, free, "done").await;
    assert_eq!(flow(&db, locked).await.jobs, serde_json::json!({ "done": 1 }));
    lunch.batch_execute("rollback").await.unwrap();
    until("it goes on", || async {
        sweep(&mut *db.conn().await).await.unwrap();
        flow(&db, locked).await.state == "done"
    })
    .await;
    rig.stop().await;
}

/// It was asked about in vain, and there is no sweep: the worker whose job has ended comes back by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_that_another_had_for_a_moment_is_come_back_to() {
    let db = world().await;
    // It is tried for a second: a machine that stands still for so long takes another flow.
    for _ in 0..5 {
        let (locked, free) = (
            Workflow::new("locked").step("one", &step("one")).then("two", &step("two")),
            Workflow::new("free").step("one", &step("one")).then("two", &step("two")),
        );
        let locked = locked.start(&mut *db.conn().await).await.unwrap();
        let free = free.start(&mut *db.conn().await).await.unwrap();
        let mut other = lunch(&db, &format!("select from flows where id = '{locked}' for update")).await;
        let rig = Rig::start(&db, kinds(), without_sweep());
        until("its first job has ended", async || {
            flow(&db, locked).await.jobs == serde_json::json!({ "done": 1 })
        })
        .await;
        // Looked after behind it, so it was met.
        flow_when(&db, free, "done").await;
        other.batch_execute("rollback").await.unwrap();
        let back = tokio::time::timeout(Duration::from_secs(3), flow_when(&db, locked, "done")).await.is_ok();
        rig.stop().await;
        if back {
            return;
        }
    }
    panic!("nobody comes back to it");
}

/// Workers that meet each other at one flow must not leave what is new to a sweep: there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_meets_another_at_a_flow_comes_back_for_its_own_job() {
    let db = world().await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        let mut fan = Workflow::new("fan").step("start", &step("start"));
        let names: Vec<String> = (0..8).map(|n| format!("part {n}")).collect();
        for name in &names {
            fan = fan.step(name, &step(name)).after(["start"]);
        }
        let fan = fan.step("end", &step("end")).after(names).when_over(&Probe::default());
        ids.push(fan.start(&mut *db.conn().await).await.unwrap());
    }
    let rigs = [(); 3].map(|()| Rig::start(&db, kinds(), without_sweep()));
    for id in &ids {
        flow_when(&db, *id, "done").await;
    }
    until("nothing is left", || async { db.count("select count(*) as n from jobs").await == 0 }).await;
    for rig in rigs {
        rig.stop().await;
    }
    assert_eq!(db.count("select count(*) as n from job_history where step is not null").await, 300);
    assert_eq!(flows::open(&mut *db.conn().await).await.unwrap(), []);
}
