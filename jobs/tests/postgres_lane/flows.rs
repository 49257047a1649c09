//! Batches and workflows, with workers that die between a completion and what follows from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_jobs::{
    Batch, Enqueue, Failure, Job, JobContext, JobResult, Outcome, Policy, Registry, Workflow, enqueue_with,
    flows::{self, FlowError, FlowView, OnDead, sweep},
    status,
    testing::{TestDatabase, assert_enqueued, drain, drain_all, enqueued, until, until_some},
};

use crate::rig::{Mortal, Probe, QUEUE, Rig, config, put_with};

/// A step that writes its name down, does what it is told, and can be undone by its kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub fails: bool,
    pub hangs: bool,
    pub reads: Vec<String>,
}

impl Job for Step {
    const KIND: &'static str = "test.step";
    const QUEUE: &'static str = QUEUE;
    const COMPENSATES: bool = true;
    const POLICY: Policy = Policy { max_attempts: 1, backoff: Duration::from_millis(10), ..Policy::DEFAULT };
}

/// Undoes a step by a job of its own kind, and is enqueued as a callback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub text: String,
}

impl Job for Note {
    const KIND: &'static str = "test.note";
    const QUEUE: &'static str = QUEUE;
}

pub fn step(name: &str) -> Step {
    Step { name: name.to_owned(), ..Step::default() }
}

pub fn note(text: &str) -> Note {
    Note { text: text.to_owned() }
}

async fn write(context: &JobContext, what: &str) -> Result<(), Failure> {
    let mut conn = context.pool.get().await?;
    diesel_async::RunQueryDsl::execute(
        diesel::sql_query("insert into trail (what) values ($1)").bind::<diesel::sql_types::Text, _>(what),
        &mut conn,
    )
    .await?;
    Ok(())
}

async fn runs(job: Step, context: JobContext) -> JobResult {
    if job.fails {
        return Err(Failure::permanent("told to"));
    }
    if job.hangs {
        context.cancelled.cancelled().await;
        return Err(Failure::retryable("asked to stop"));
    }
    let mut read = Vec::new();
    for name in &job.reads {
        read.push(context.step_result(&mut *context.pool.get().await?, name).await?);
    }
    write(&context, &job.name).await?;
    Ok(Outcome::Done(Some(json!({ "is": job.name, "read": read }))))
}

pub fn kinds() -> Registry {
    Registry::new()
        .job_with_compensation::<Step>(runs, async |job: Step, context: JobContext| {
            write(&context, &format!("-{}", job.name)).await?;
            Ok(Outcome::done())
        })
        .job::<Note>(async |job: Note, context: JobContext| {
            write(&context, &job.text).await?;
            Ok(Outcome::done())
        })
        .job::<Probe>(async |_: Probe, _: JobContext| Ok(Outcome::done()))
}

pub async fn world() -> TestDatabase {
    let db = TestDatabase::create().await;
    db.execute("create table trail (n bigint generated always as identity, what text not null)").await;
    db
}

pub async fn trail(db: &TestDatabase) -> Vec<String> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        what: String,
    }
    let rows: Vec<Row> = diesel_async::RunQueryDsl::load(
        diesel::sql_query("select what from trail order by n"),
        &mut db.conn().await,
    )
    .await
    .unwrap();
    rows.into_iter().map(|row| row.what).collect()
}

pub async fn flow(db: &TestDatabase, id: Uuid) -> FlowView {
    flows::find(&mut *db.conn().await, id).await.unwrap().unwrap()
}

pub async fn flow_when(db: &TestDatabase, id: Uuid, state: &str) -> FlowView {
    until_some(&format!("flow {id} is {state}"), || async {
        let view = flow(db, id).await;
        (view.state == state).then_some(view)
    })
    .await
}

async fn job_of(db: &TestDatabase, flow: Uuid, step: &str) -> Uuid {
    let steps = flows::steps_of(&mut *db.conn().await, flow).await.unwrap();
    steps.iter().find(|view| view.name == step).unwrap().job_id.unwrap()
}

#[tokio::test]
async fn a_batch_calls_back_once_when_all_its_jobs_are_over() {
    let db = world().await;
    let probes = (0..200).map(|n| Probe { n, key: None });
    let batch =
        Batch::new("many").when_over(&note("over")).jobs(probes).start(&mut *db.conn().await).await.unwrap();
    // Two workers complete them; both see the end.
    let rigs = [Rig::start(&db, kinds(), config()), Rig::start(&db, kinds(), config())];
    let view = flow_when(&db, batch, "done").await;
    assert_eq!(view.jobs, json!({ "done": 200 }));
    until("the callback ran", || async { trail(&db).await == ["over"] }).await;
    for rig in rigs {
        rig.stop().await;
    }
    sweep(&mut *db.conn().await).await.unwrap();
    assert_eq!(db.count("select count(*) as n from job_history where kind = 'test.note'").await, 1);
    assert_eq!(db.count("select count(*) as n from jobs").await, 0);
}

#[tokio::test]
async fn a_batch_waits_for_its_seal_and_for_what_its_jobs_add() {
    let db = world().await;
    let batch = Batch::new("grows").when_over(&note("over")).open(&mut *db.conn().await).await.unwrap();
    let of_batch = || Enqueue { flow_id: Some(batch), ..Enqueue::default() };
    put_with(&db, &Probe::default(), of_batch()).await;
    drain_all(db.pool(), &kinds()).await;
    assert_eq!(flow(&db, batch).await.state, "running", "it is not sealed");
    put_with(&db, &Probe { n: 1, key: None }, of_batch()).await;
    assert!(flows::seal(&mut *db.conn().await, batch).await.unwrap());
    assert!(!flows::seal(&mut *db.conn().await, batch).await.unwrap());
    let adds = kinds().job::<Probe>(move |job: Probe, context: JobContext| async move {
        if job.n == 1 {
            let mut conn = context.pool.get().await?;
            let options = Enqueue { flow_id: context.flow_id, ..Enqueue::default() };
            let finished = diesel_async::AsyncConnection::transaction(&mut *conn, async |conn| {
                enqueue_with(conn, &Probe { n: 2, key: None }, options).await?;
                context.finish(conn, None).await
            });
            return Ok(Outcome::Finished(finished.await?));
        }
        Ok(Outcome::done())
    });
    assert_eq!(drain(db.pool(), &adds, QUEUE).await.len(), 2);
    drain_all(db.pool(), &kinds()).await;
    assert_eq!(flow(&db, batch).await.jobs, json!({ "done": 3 }));
    assert_eq!(trail(&db).await, ["over"]);
}

#[tokio::test]
async fn an_empty_batch_is_over_at_once() {
    let db = world().await;
    let batch = Batch::new("none").when_over(&note("over")).start(&mut *db.conn().await).await.unwrap();
    assert_eq!(flow(&db, batch).await.state, "done");
    assert_enqueued::<Note>(db.pool(), |note| note.text == "over").await;
}

#[tokio::test]
async fn a_batch_says_once_that_a_job_is_dead_and_goes_on() {
    let db = world().await;
    let bad = |name: &str| Step { fails: true, ..step(name) };
    let batch = Batch::new("mixed")
        .when_dead(&note("dead"))
        .when_over(&note("over"))
        .jobs([bad("a"), bad("b"), step("c")])
        .start(&mut *db.conn().await)
        .await
        .unwrap();
    drain_all(db.pool(), &kinds()).await;
    let view = flow(&db, batch).await;
    assert_eq!((view.state.as_str(), view.jobs), ("failed", json!({ "dead": 2, "done": 1 })));
    let mut trail = trail(&db).await;
    trail.sort_unstable();
    assert_eq!(trail, ["c", "dead", "over"]);
}

/// As [`Step`], with attempts for all the workers that are killed under it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tough {
    name: String,
}

impl Job for Tough {
    const KIND: &'static str = "test.tough";
    const QUEUE: &'static str = QUEUE;
}

fn tough(name: &str) -> Tough {
    Tough { name: name.to_owned() }
}

fn tough_diamond() -> Workflow {
    Workflow::new("diamond")
        .step("start", &tough("start"))
        .then("left", &tough("left"))
        .step("right", &tough("right"))
        .after(["start"])
        .step("end", &tough("end"))
        .after(["left", "right"])
        .when_over(&note("over"))
}

fn diamond() -> Workflow {
    Workflow::new("diamond")
        .step("start", &step("start"))
        .then("left", &Step { reads: vec!["start".to_owned()], ..step("left") })
        .step("right", &step("right"))
        .after(["start"])
        .step("end", &Step { reads: vec!["left".to_owned(), "right".to_owned()], ..step("end") })
        .after(["left", "right"])
        .when_over(&note("over"))
}

#[tokio::test]
async fn steps_run_when_what_they_need_is_done_and_read_what_it_came_to() {
    let db = world().await;
    let id = diamond().start(&mut *db.conn().await).await.unwrap();
    assert_eq!(enqueued::<Step>(db.pool()).await, [step("start")]);
    let rig = Rig::start(&db, kinds(), config());
    flow_when(&db, id, "done").await;
    until("the callback ran", || async { trail(&db).await.len() == 5 }).await;
    rig.stop().await;
    let trail = trail(&db).await;
    assert_eq!((trail[0].as_str(), trail[3].as_str(), trail[4].as_str()), ("start", "end", "over"));
    let steps = flows::steps_of(&mut *db.conn().await, id).await.unwrap();
    let end: &Value = steps[3].result.as_ref().unwrap();
    assert_eq!(end["read"][0]["read"][0]["is"], "start");
    assert_eq!(end["read"][1]["is"], "right");
}

#[tokio::test]
async fn a_workflow_that_makes_no_sense_is_refused_and_nothing_is_written() {
    let db = world().await;
    let mut conn = db.conn().await;
    let unknown = Workflow::new("w").step("a", &step("a")).after(["b"]).step("b", &step("b"));
    let twice = Workflow::new("w").step("a", &step("a")).step("a", &step("a"));
    for (workflow, said) in [
        (Workflow::new("w"), "workflow: w has no steps"),
        (unknown, "workflow: step a needs b, which is not among the steps before it"),
        (twice, "workflow: two steps are named a"),
    ] {
        let error: FlowError = workflow.start(&mut conn).await.unwrap_err();
        assert_eq!(error.to_string(), said);
    }
    assert_eq!(db.count("select count(*) as n from flows").await, 0);
}

#[tokio::test]
async fn a_dead_step_undoes_those_that_are_done_the_last_first() {
    let db = world().await;
    let id = Workflow::new("fails")
        .step("one", &step("one"))
        .then("two", &step("two"))
        .undo(&note("two is taken back"))
        .then("three", &Step { fails: true, ..step("three") })
        .then("four", &step("four"))
        .when_dead(&note("dead"))
        .when_over(&note("over"))
        .start(&mut *db.conn().await)
        .await
        .unwrap();
    let rig = Rig::start(&db, kinds(), config());
    flow_when(&db, id, "failed").await;
    until("the callbacks ran", || async { trail(&db).await.len() == 6 }).await;
    rig.stop().await;
    let trail: Vec<_> = trail(&db).await.into_iter().filter(|what| what != "dead").collect();
    assert_eq!(trail, ["one", "two", "two is taken back", "-one", "over"]);
    let steps = flows::steps_of(&mut *db.conn().await, id).await.unwrap();
    let states: Vec<_> = steps.iter().map(|step| step.state.as_str()).collect();
    assert_eq!(states, ["undone", "undone", "dead", "skipped"]);
}

#[tokio::test]
async fn a_workflow_that_waits_goes_on_when_its_dead_letter_was_retried() {
    let db = world().await;
    let id = Workflow::new("waits")
        .step("one", &step("one"))
        .then("two", &Step { fails: true, ..step("two") })
        .then("three", &step("three"))
        .on_dead(OnDead::Wait)
        .start(&mut *db.conn().await)
        .await
        .unwrap();
    drain_all(db.pool(), &kinds()).await;
    assert_eq!(flow(&db, id).await.state, "running");
    assert!(sweep(&mut *db.conn().await).await.unwrap().is_empty());
    let dead = job_of(&db, id, "two").await;
    // The cause is gone.
    db.execute("update dead_letters set payload = jsonb_set(payload, '{fails}', 'false')").await;
    assert!(status::retry_dead(&mut *db.conn().await, dead).await.unwrap());
    drain_all(db.pool(), &kinds()).await;
    assert_eq!(flow(&db, id).await.state, "done");
    assert_eq!(trail(&db).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn cancelling_a_workflow_ends_what_runs_and_undoes_what_is_done() {
    let db = world().await;
    let id = Workflow::new("unwanted")
        .step("one", &step("one"))
        .then("two", &Step { hangs: true, ..step("two") })
        .then("three", &step("three"))
        .when_over(&note("over"))
        .start(&mut *db.conn().await)
        .await
        .unwrap();
    let rig = Rig::start(&db, kinds(), config());
    until("the second step runs", || async {
        db.count("select count(*) as n from jobs where state = 'running' and step = 'two'").await == 1
    })
    .await;
    assert!(flows::cancel(&mut *db.conn().await, id, "somebody", "not wanted").await.unwrap());
    flow_when(&db, id, "cancelled").await;
    until("the callback ran", || async { trail(&db).await.last().is_some_and(|what| what == "over") }).await;
    rig.stop().await;
    // The second had begun: it is undone too, before the first.
    assert_eq!(trail(&db).await, ["one", "-two", "-one", "over"]);
    assert!(!flows::cancel(&mut *db.conn().await, id, "somebody", "again").await.unwrap());
}

#[tokio::test]
async fn cancelling_a_batch_ends_its_jobs_and_says_so() {
    let db = world().await;
    let jobs = (0..1_500).map(|n| Probe { n, key: None });
    let batch = Batch::new("unwanted")
        .when_over(&note("over"))
        .jobs(jobs)
        .start(&mut *db.conn().await)
        .await
        .unwrap();
    assert!(flows::cancel(&mut *db.conn().await, batch, "somebody", "not wanted").await.unwrap());
    let view = flow(&db, batch).await;
    assert_eq!((view.state.as_str(), view.jobs), ("cancelled", json!({ "cancelled": 1_500 })));
    assert_eq!(enqueued::<Note>(db.pool()).await, [note("over")]);
}

/// Every outcome is committed and nobody looks after the flow: as if each worker died in between. Many sweeps at once take
/// its place, and each step is enqueued once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_completion_and_what_follows_neither_forks_nor_stalls() {
    let db = world().await;
    let id = diamond().start(&mut *db.conn().await).await.unwrap();
    for jobs in [1, 2, 1, 1] {
        // Runs jobs without looking after flows, as a worker does up to the commit.
        assert_eq!(drain(db.pool(), &kinds(), QUEUE).await.len(), jobs);
        assert_eq!(db.count("select count(*) as n from jobs").await, 0);
        let sweeps = (0..6).map(|_| {
            let pool = db.pool().clone();
            tokio::spawn(async move { sweep(&mut pool.get().await.unwrap()).await.unwrap() })
        });
        for swept in futures::future::join_all(sweeps).await {
            swept.unwrap();
        }
    }
    assert_eq!(flow(&db, id).await.state, "done");
    assert_eq!(trail(&db).await.len(), 5);
    assert_eq!(db.count("select count(*) as n from job_history where flow_id is not null").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_end_however_often_their_workers_are_killed() {
    let db = world().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(tough_diamond().start(&mut *db.conn().await).await.unwrap());
    }
    let quick = waybill_jobs::runtime::WorkerConfig { grace: Duration::from_millis(50), ..config() };
    // Killed as soon as something has ended under it, which is wherever it happens to be.
    for _ in 0..6 {
        let before = db.count("select count(*) as n from job_history").await;
        let dying = Mortal::start(&db, durable(), quick.clone());
        until("something ended", || async {
            db.count("select count(*) as n from job_history").await > before
                || db.count("select count(*) as n from flows where finished_at is null").await == 0
        })
        .await;
        dying.kill();
    }
    let rig = Rig::start(&db, durable(), quick);
    for id in ids {
        flow_when(&db, id, "done").await;
    }
    until("nothing is left", || async { db.count("select count(*) as n from jobs").await == 0 }).await;
    rig.stop().await;
    // Each step of each flow has ended once, and each flow has called back once.
    assert_eq!(db.count("select count(*) as n from job_history where kind = 'test.tough'").await, 80);
    assert_eq!(
        db.count("select count(distinct (flow_id, step)) as n from job_history where flow_id is not null")
            .await,
        80
    );
    assert_eq!(db.count("select count(*) as n from job_history where kind = 'test.note'").await, 20);
}

fn durable() -> Registry {
    Registry::new()
        .job::<Tough>(async |job: Tough, _: JobContext| Ok(Outcome::Done(Some(json!({ "is": job.name })))))
        .job::<Note>(async |_: Note, _: JobContext| Ok(Outcome::done()))
}
