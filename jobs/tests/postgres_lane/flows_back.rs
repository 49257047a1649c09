//! Flows that turn back, and the sweep behind flows that cannot go on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use uuid::Uuid;
use waybill_jobs::{
    Batch, Failure, JobContext, JobResult, Outcome, Registry, Workflow, flows,
    flows::sweep,
    testing::{TestDatabase, until},
};

use crate::{
    flows::{Note, Step, flow, flow_when, note, step, trail, world},
    rig::{Rig, config},
};

/// How many may be undone, and how many have begun to be.
#[derive(Default)]
struct Turns {
    allowed: AtomicUsize,
    begun: AtomicUsize,
}

/// Undoing, by the kind or by a job, waits for its turn and is written down.
async fn undoes(turns: Arc<Turns>, context: JobContext, what: String) -> JobResult {
    let mine = turns.begun.fetch_add(1, Ordering::SeqCst);
    until("it is its turn", || async { turns.allowed.load(Ordering::SeqCst) > mine }).await;
    if context.cancelled.is_cancelled() {
        return Err(Failure::permanent("what undoes was asked to end"));
    }
    diesel_async::RunQueryDsl::execute(
        diesel::sql_query("insert into trail (what) values ($1)").bind::<diesel::sql_types::Text, _>(what),
        &mut *context.pool.get().await?,
    )
    .await?;
    Ok(Outcome::done())
}

fn kinds(turns: &Arc<Turns>) -> Registry {
    let (by_kind, by_job) = (Arc::clone(turns), Arc::clone(turns));
    Registry::new()
        .job_with_compensation::<Step>(
            async |job: Step, context: JobContext| -> JobResult {
                if job.hangs {
                    context.cancelled.cancelled().await;
                    return Err(Failure::retryable("asked to stop"));
                }
                Ok(Outcome::done())
            },
            move |job: Step, context: JobContext| {
                undoes(Arc::clone(&by_kind), context, format!("-{}", job.name))
            },
        )
        .job::<Note>(move |job: Note, context: JobContext| undoes(Arc::clone(&by_job), context, job.text))
}

#[tokio::test]
async fn cancelling_a_workflow_again_while_it_turns_back_changes_nothing() {
    let db = world().await;
    let turns = Arc::new(Turns::default());
    let id = Workflow::new("unwanted")
        .step("one", &step("one"))
        .then("two", &step("two"))
        .undo(&note("two is taken back"))
        .then("three", &Step { hangs: true, ..step("three") })
        .then("four", &step("four"))
        .start(&mut *db.conn().await)
        .await
        .unwrap();
    let rig = Rig::start(&db, kinds(&turns), config());
    let running = async |step: &str| {
        let query = format!("select count(*) as n from jobs where step = '{step}' and state = 'running'");
        until(&format!("{step} runs"), || async { db.count(&query).await == 1 }).await;
    };
    running("three").await;
    let cancel =
        async |reason: &str| flows::cancel(&mut *db.conn().await, id, "somebody", reason).await.unwrap();
    assert!(cancel("not wanted").await);
    // The one that runs undoes itself; of those that are done, one is undone by a job and one by its kind.
    for (turn, undone) in ["three", "two", "one"].into_iter().enumerate() {
        until(&format!("{undone} is being undone"), || async {
            turns.begun.load(Ordering::SeqCst) == turn + 1
        })
        .await;
        running(undone).await;
        assert!(cancel("again").await, "it is not over");
        let asked = "select count(*) as n from jobs where cancel is not null and not undo";
        let live = "select count(*) as n from jobs";
        assert_eq!((db.count(asked).await, db.count(live).await), (0, 1), "{undone}");
        turns.allowed.fetch_add(1, Ordering::SeqCst);
    }
    let over = flow_when(&db, id, "cancelled").await;
    rig.stop().await;
    assert_eq!(over.cancel.unwrap()["reason"], "not wanted", "the first reason stands");
    assert_eq!(trail(&db).await, ["-three", "two is taken back", "-one"], "each once");
    assert_eq!(db.count("select count(*) as n from dead_letters").await, 0);
    assert!(!cancel("too late").await);
}

/// Flows whose plan cannot be read, so that they fail whenever they are looked after.
async fn broken(db: &TestDatabase, flows: i64) {
    db.execute(&format!(
        "insert into flows (id, kind, name, sealed, when_over)
         select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'batch', 'broken', true, '{{\"kind\": 1}}'
         from generate_series(1, {flows}) n"
    ))
    .await;
}

#[tokio::test]
async fn any_number_of_flows_that_cannot_go_on_holds_up_no_other() {
    let db = world().await;
    broken(&db, 1_200).await;
    let good = Batch::new("good").open(&mut *db.conn().await).await.unwrap();
    // Sealed by hand: nobody but the sweep knows.
    db.execute(&format!("update flows set sealed = true where id = '{good}'")).await;
    let rig = Rig::start(&db, kinds(&Arc::default()), config());
    flow_when(&db, good, "done").await;
    rig.stop().await;
    assert_eq!(db.count("select count(*) as n from flows where finished_at is null").await, 1_200);
}

#[tokio::test]
async fn one_sweep_comes_to_every_flow() {
    let db = world().await;
    broken(&db, 600).await;
    let last: Uuid = Batch::new("last").when_over(&note("over")).open(&mut *db.conn().await).await.unwrap();
    db.execute(&format!("update flows set sealed = true where id = '{last}'")).await;
    assert_eq!(sweep(&mut *db.conn().await).await.unwrap(), [crate::rig::QUEUE]);
    assert_eq!(flow(&db, last).await.state, "done");
}
