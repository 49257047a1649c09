//! What a person may do to dead and finished jobs, and what is in the way: flows that are over, and unique slots.

use std::time::Duration;

use diesel_async::AsyncConnection;
use uuid::Uuid;
use waybill_jobs::{
    Batch, Enqueue, Enqueued, Unique, Workflow, cancel,
    cancel::Cancelled,
    flows::{self, FlowError, OnDead, sweep},
    kinds::ReindexProducts,
    postgres::{Entry, bury, claim, complete::complete_done},
    status::{find, retry_dead},
    testing::{TestDatabase, drain, drain_all, register},
    try_enqueue,
};
use waybill_schema::{
    new_id,
    system::rework::{discard, repeat, revive},
};

use crate::{
    flows::{Step, flow, kinds, note, step, trail, world},
    rig::{Probe, QUEUE, put_with},
};

/// The states of a workflow's steps in order.
async fn states(db: &TestDatabase, id: Uuid) -> Vec<String> {
    let steps = flows::steps_of(&mut *db.conn().await, id).await.unwrap();
    steps.into_iter().map(|step| step.state).collect()
}

async fn job_of(db: &TestDatabase, id: Uuid, name: &str, undo: bool) -> Uuid {
    let steps = flows::steps_of(&mut *db.conn().await, id).await.unwrap();
    let step = steps.into_iter().find(|step| step.name == name).unwrap();
    if undo { step.undo_job_id } else { step.job_id }.unwrap()
}

/// Its dead letter would go well the next time.
async fn heal(db: &TestDatabase) {
    db.execute(
        "update dead_letters set payload = jsonb_set(payload, '{fails}', 'false') where payload ? 'fails'",
    )
    .await;
}

#[tokio::test]
async fn a_dead_step_does_not_run_once_its_workflow_was_undone() {
    let db = world().await;
    let id = Workflow::new("undone")
        .step("one", &step("one"))
        .then("two", &Step { fails: true, ..step("two") })
        .start(&mut *db.conn().await)
        .await
        .unwrap();
    drain_all(db.pool(), &kinds()).await;
    assert_eq!(
        (flow(&db, id).await.state.as_str(), trail(&db).await),
        ("failed", vec!["one".into(), "-one".into()])
    );
    heal(&db).await;
    let dead = job_of(&db, id, "two", false).await;
    assert!(!retry_dead(&mut *db.conn().await, dead).await.unwrap(), "the workflow is over");
    drain_all(db.pool(), &kinds()).await;
    assert_eq!(trail(&db).await, ["one", "-one"]);
    assert_eq!(db.count("select count(*) as n from dead_letters").await, 1, "the letter is still there");
    // The flow is shed before its letters, which nothing sheds: its steps are done with all the same.
    db.execute("delete from flows").await;
    assert!(!retry_dead(&mut *db.conn().await, dead).await.unwrap());
}

#[tokio::test]
async fn what_undoes_a_step_is_retried_but_not_cancelled_and_its_loss_is_written_down() {
    let db = world().await;
    let id = Workflow::new("undoing")
        .step("one", &step("one"))
        .then("two", &step("two"))
        .undo(&note("two is taken back"))
        .then("three", &Step { fails: true, ..step("three") })
        .start(&mut *db.conn().await)
        .await
        .unwrap();
    let registry = kinds();
    // Up to where the compensation of the second is about to run.
    loop {
        drain(db.pool(), &registry, QUEUE).await;
        sweep(&mut *db.conn().await).await.unwrap();
        if states(&db, id).await[1] == "undoing" {
            break;
        }
    }
    let undoes = job_of(&db, id, "two", true).await;
    let conn = &mut *db.conn().await;
    assert_eq!(cancel::cancel(conn, undoes, "somebody", "enough").await.unwrap(), Cancelled::UndoesStep);
    assert_eq!(cancel::cancel_all(conn, &[undoes], "somebody", "enough").await.unwrap().total(), 0);
    assert_eq!(find(conn, undoes).await.unwrap().unwrap().state, "queued");

    // Dead it holds the flow, where the dead step is not retried any more, but it is.
    let worker = register(db.pool()).await;
    let claimed = claim(conn, QUEUE, worker, 1).await.unwrap();
    assert_eq!(claimed[0].id, undoes);
    bury(conn, &[(undoes, claimed[0].claim, Entry::new("failed", "no"), "no")]).await.unwrap();
    sweep(conn).await.unwrap();
    assert_eq!((flow(&db, id).await.state.as_str(), flows::held(conn).await.unwrap()), ("undoing", 1));
    assert_eq!(flows::held_by(conn, id, 10).await.unwrap(), [undoes]);
    assert!(!retry_dead(conn, job_of(&db, id, "three", false).await).await.unwrap());
    assert!(retry_dead(conn, undoes).await.unwrap());
    assert_eq!(flows::held(conn).await.unwrap(), 0);

    // Discarded it has undone nothing, and the flow says so and goes on.
    assert_eq!(discard(conn, &[undoes], "somebody").await.unwrap().len(), 1);
    drain_all(db.pool(), &registry).await;
    assert_eq!(states(&db, id).await, ["undone", "not_undone", "dead"]);
    assert_eq!(flow(&db, id).await.state, "failed");
    assert_eq!(trail(&db).await, ["one", "two", "-one"]);
}

#[tokio::test]
async fn a_batch_that_waits_is_over_when_its_dead_jobs_were_retried() {
    let db = world().await;
    let id = Batch::new("patient")
        .on_dead(OnDead::Wait)
        .when_dead(&note("dead"))
        .when_over(&note("over"))
        .jobs([Step { fails: true, ..step("a") }, step("b"), Step { fails: true, ..step("c") }])
        .start(&mut *db.conn().await)
        .await
        .unwrap();
    let registry = kinds();
    drain_all(db.pool(), &registry).await;
    assert_eq!(flow(&db, id).await.state, "running");
    let conn = &mut *db.conn().await;
    let letters = flows::held_by(conn, id, 10).await.unwrap();
    assert_eq!((letters.len(), flows::held(conn).await.unwrap()), (2, 1));
    let mut told = trail(&db).await;
    told.sort_unstable();
    assert_eq!(told, ["b", "dead"], "nobody is told that it is over");
    heal(&db).await;
    assert!(retry_dead(conn, letters[0]).await.unwrap());
    drain_all(db.pool(), &registry).await;
    assert_eq!(flow(&db, id).await.state, "running", "one is left");
    discard(conn, &[letters[1]], "somebody").await.unwrap();
    drain_all(db.pool(), &registry).await;
    assert_eq!(flow(&db, id).await.state, "done");
    assert_eq!(trail(&db).await.last().unwrap(), "over");
    assert_eq!(trail(&db).await.iter().filter(|what| *what == "over").count(), 1);
}

#[tokio::test]
async fn flows_have_no_room_for_a_job_that_another_stands_for() {
    let db = world().await;
    let conn = &mut *db.conn().await;
    let planned = Workflow::new("w").step("index", &ReindexProducts { category_id: None }).start(conn).await;
    assert!(matches!(planned, Err(FlowError::Unique("search.reindex"))), "{planned:?}");
    let batch = || Batch::new("b").jobs([ReindexProducts { category_id: None }]);
    let first = batch().start(conn).await.unwrap();
    let holder: Uuid = uuid_of(&db, "select id from jobs").await;
    let refused = batch().start(conn).await;
    assert!(matches!(refused, Err(FlowError::Taken { holder: is, .. }) if is == holder), "{refused:?}");
    assert_eq!(db.count("select count(*) as n from flows").await, 1, "{first}");
}

async fn uuid_of(db: &TestDatabase, query: &str) -> Uuid {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Uuid)]
        id: Uuid,
    }
    let row: Row =
        diesel_async::RunQueryDsl::get_result(diesel::sql_query(query), &mut db.conn().await).await.unwrap();
    row.id
}

fn with(unique: Unique) -> Enqueue {
    Enqueue { unique: Some(unique), ..Enqueue::default() }
}

async fn put(db: &TestDatabase, unique: Unique) -> Enqueued {
    try_enqueue(&*db.conn().await, &Probe::default(), with(unique)).await.unwrap()
}

/// A dead letter that was unique.
async fn dead(db: &TestDatabase, unique: Unique) -> Uuid {
    let id = put_with(db, &Probe::default(), with(unique)).await;
    let claimed = claim(&mut *db.conn().await, QUEUE, register(db.pool()).await, 5).await.unwrap();
    let claimed = claimed.iter().find(|job| job.id == id).unwrap();
    bury(&mut *db.conn().await, &[(id, claimed.claim, Entry::new("failed", "no"), "no")]).await.unwrap();
    id
}

#[tokio::test]
async fn a_retried_job_takes_its_slot_again_if_it_is_free() {
    let db = TestDatabase::create().await;
    let first = dead(&db, Unique::while_live("k")).await;
    assert!(retry_dead(&mut *db.conn().await, first).await.unwrap());
    assert_eq!(put(&db, Unique::while_live("k")).await, Enqueued::Existing(first), "it has its slot");
    let worker = register(db.pool()).await;
    let claimed = claim(&mut *db.conn().await, QUEUE, worker, 5).await.unwrap();
    assert_eq!(put(&db, Unique::while_live("k")).await, Enqueued::Existing(first), "also while it runs");
    complete_done(&mut *db.conn().await, &[(first, claimed[0].claim)], &[None]).await.unwrap();
    assert!(put(&db, Unique::while_live("k")).await.is_new(), "and gives it up");

    // One that was unique while it waited is so again, and no longer.
    let waiting = dead(&db, Unique::while_waiting("w")).await;
    assert!(retry_dead(&mut *db.conn().await, waiting).await.unwrap());
    assert_eq!(put(&db, Unique::while_waiting("w")).await, Enqueued::Existing(waiting));
    claim(&mut *db.conn().await, QUEUE, worker, 5).await.unwrap();
    assert!(put(&db, Unique::while_waiting("w")).await.is_new());

    // One that cannot be retried leaves its window as it is, to end with its time.
    let erased = dead(&db, Unique::within("e", Duration::from_hours(1))).await;
    db.execute("update dead_letters set erased_at = now()").await;
    assert!(!retry_dead(&mut *db.conn().await, erased).await.unwrap());
    let windows = "select count(*) as n from job_uniques where key like '%:e' and scope = 'window'";
    assert_eq!(db.count(windows).await, 1);
}

#[tokio::test]
async fn a_retried_job_waits_for_who_has_its_slot_unless_it_is_forced() {
    let db = TestDatabase::create().await;
    let first = dead(&db, Unique::while_live("k")).await;
    let second = put(&db, Unique::while_live("k")).await;
    assert!(second.is_new());
    assert!(!retry_dead(&mut *db.conn().await, first).await.unwrap(), "another has the slot");
    let forced = db.conn().await.transaction(async |conn| revive(conn, &[first], true).await).await.unwrap();
    assert_eq!(forced.len(), 1);
    db.execute(&format!("delete from jobs where id = '{first}'")).await;
    assert_eq!(
        put(&db, Unique::while_live("k")).await,
        Enqueued::Existing(second.id()),
        "the slot was not the first's"
    );
    // Of two letters that want the same slot the older has it.
    db.execute("delete from jobs").await;
    let letters = [dead(&db, Unique::while_live("two")).await, dead(&db, Unique::while_live("two")).await];
    let back = db.conn().await.transaction(async |conn| revive(conn, &letters, false).await).await.unwrap();
    assert_eq!(back.iter().map(|job| job.id).collect::<Vec<_>>(), [letters[0]]);
}

#[tokio::test]
async fn a_finished_job_is_enqueued_again_into_its_slot() {
    let db = TestDatabase::create().await;
    let done = put(&db, Unique::while_live("k").and_within(Duration::from_hours(1))).await.id();
    let claimed = claim(&mut *db.conn().await, QUEUE, register(db.pool()).await, 5).await.unwrap();
    complete_done(&mut *db.conn().await, &[(done, claimed[0].claim)], &[None]).await.unwrap();
    let again = async |force: bool| {
        let fresh = new_id();
        let mut conn = db.conn().await;
        let made = conn.transaction(async |conn| repeat(conn, &[done], &[fresh], force).await).await.unwrap();
        made.first().map(|job| job.id)
    };
    // Its own window is in its way for others, not for itself.
    let fresh = again(false).await.unwrap();
    assert_eq!(put(&db, Unique::while_live("k")).await, Enqueued::Existing(fresh));
    assert_eq!(again(false).await, None, "the new one has the slot");
    assert!(again(true).await.is_some());
    assert_eq!(db.count("select count(*) as n from job_uniques").await, 1);
}
