//! Sealed arguments, and the erasure of a person.

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{
    EnqueueError, Failure, Job, JobContext, JobResult, Level, Outcome, Policy, Registry, enqueue,
    erase::{Counts, Live, erase},
    seal::{self, Sealer},
    status,
    testing::{TestDatabase, assert_enqueued, drain, drain_all, until},
};
use waybill_schema::new_id;

use crate::rig::QUEUE;

/// Carries what nobody else may read.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Greet {
    person: Uuid,
    name: String,
    fails: bool,
}

impl Job for Greet {
    const KIND: &'static str = "test.greet";
    const QUEUE: &'static str = QUEUE;
    const SEALED: bool = true;
    const POLICY: Policy = Policy { max_attempts: 1, ..Policy::DEFAULT };

    fn subject_id(&self) -> Option<Uuid> {
        Some(self.person)
    }
}

/// Turns bytes round, and refuses another purpose. What seals in earnest is tested where it is.
struct Reversed;

impl Sealer for Reversed {
    fn seal(&self, plain: &[u8], purpose: &str) -> Result<Vec<u8>, String> {
        Ok(plain.iter().chain(purpose.as_bytes()).rev().copied().collect())
    }

    fn open(&self, sealed: &[u8], purpose: &str) -> Result<Vec<u8>, String> {
        let all: Vec<u8> = sealed.iter().rev().copied().collect();
        all.strip_suffix(purpose.as_bytes()).map(<[u8]>::to_vec).ok_or_else(|| "another purpose".to_owned())
    }
}

fn greet(person: Uuid, fails: bool) -> Greet {
    Greet { person, name: "Ada Lovelace".to_owned(), fails }
}

async fn greets(job: Greet, context: JobContext) -> JobResult {
    context.log(Level::Info, format!("hello {}", job.name));
    if job.fails {
        return Err(Failure::permanent(format!("{} is not at home", job.name)));
    }
    Ok(Outcome::Done(Some(json!({ "greeted": job.name }))))
}

async fn mentions(db: &TestDatabase, table: &str) -> i64 {
    db.count(&format!("select count(*) as n from {table} t where t::text like '%Lovelace%'")).await
}

#[tokio::test]
async fn sealed_arguments_reach_the_handler_and_nobody_else() {
    let db = TestDatabase::create().await;
    let person = new_id();
    // Without a sealer nothing is stored in the clear. Only where this test is the first of its process to seal: with
    // nextest, each is.
    let open = enqueue(&*db.conn().await, &greet(person, false)).await;
    if seal::install(Reversed) {
        assert!(matches!(open, Err(EnqueueError::Seal(_))), "{open:?}");
        enqueue(&*db.conn().await, &greet(person, false)).await.unwrap();
    }
    assert_eq!(mentions(&db, "jobs").await, 0);
    assert_enqueued::<Greet>(db.pool(), |job| job.name == "Ada Lovelace").await;
    // One from before the kind was sealed.
    db.execute(
        "insert into jobs (id, kind, version, queue, max_attempts, subject_id, payload)
         select gen_random_uuid(), kind, version, queue, max_attempts, subject_id,
                jsonb_build_object('person', subject_id, 'name', 'Old', 'fails', false) from jobs",
    )
    .await;
    let ran = drain(db.pool(), &Registry::new().job::<Greet>(greets), QUEUE).await;
    assert_eq!(ran.iter().map(|ran| ran.outcome).collect::<Vec<_>>(), ["done", "done"]);
    // Bytes that do not open are put aside: another process may have the key. Not for ever.
    db.execute("insert into jobs (id, kind, queue, max_attempts, payload) select gen_random_uuid(), 'test.greet', 'test', 1, '{\"$sealed\": \"AAAA\"}'").await;
    let ran = drain(db.pool(), &Registry::new().job::<Greet>(greets), QUEUE).await;
    assert_eq!(ran[0].outcome, "snoozed");
    assert_eq!(db.count("select attempt::bigint as n from jobs").await, 0, "it spends no attempt");
    db.execute("update jobs set snoozes = 300, state = 'queued'").await;
    let ran = drain(db.pool(), &Registry::new().job::<Greet>(greets), QUEUE).await;
    assert_eq!(ran[0].outcome, "dead");
}

/// The same kind in a release that does not seal it yet.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OpenGreet {
    name: String,
}

impl Job for OpenGreet {
    const KIND: &'static str = Greet::KIND;
    const QUEUE: &'static str = QUEUE;
}

#[tokio::test]
async fn what_a_newer_release_sealed_is_opened_by_one_that_does_not_seal() {
    seal::install(Reversed);
    let db = TestDatabase::create().await;
    enqueue(&*db.conn().await, &greet(new_id(), false)).await.unwrap();
    let registry = Registry::new()
        .job(|job: OpenGreet, _: JobContext| async move { Ok(Outcome::Done(Some(json!(job.name.len())))) });
    assert_eq!(drain(db.pool(), &registry, QUEUE).await[0].outcome, "done");
    assert_eq!(db.count("select count(*) as n from job_history where result = '12'").await, 1);
}

#[tokio::test]
async fn a_person_is_erased_from_all_that_is_over() {
    seal::install(Reversed);
    let db = TestDatabase::create().await;
    let (person, other) = (new_id(), new_id());
    let mut conn = db.conn().await;
    let mut ids = Vec::new();
    for job in [greet(person, false), greet(person, true), greet(other, false)] {
        ids.push(enqueue(&conn, &job).await.unwrap());
    }
    drain(db.pool(), &Registry::new().job::<Greet>(greets), QUEUE).await;
    until("all lines are written", || async { mentions(&db, "job_logs").await == 3 }).await;
    enqueue(&conn, &greet(person, false)).await.unwrap();
    db.execute("update dead_letters set reason = 'Lovelace was out'").await;

    let left = erase(&mut conn, person, Live::Leave).await.unwrap();
    assert_eq!((left.jobs, left.dead_letters, left.log_lines, left.live), (1, 1, 2, 1));
    assert_eq!(erase(&mut conn, person, Live::Leave).await.unwrap().jobs, 0, "what is empty is left alone");
    let rest = erase(&mut conn, person, Live::Cancel).await.unwrap();
    assert_eq!((rest.jobs, rest.live), (1, 0));

    assert_eq!(mentions(&db, "dead_letters").await, 0);
    assert_eq!((mentions(&db, "job_history").await, mentions(&db, "job_logs").await), (1, 1), "the other's");
    let marked =
        "select count(*) as n from job_history where erased_at is not null and subject_id is not null";
    assert_eq!(db.count(marked).await, 2, "the rows stay");
    assert!(!status::retry_dead(&mut conn, ids[1]).await.unwrap(), "there is nothing left to run");
    // What remains of the attempts is how they ended.
    let kept = "select count(*) as n from dead_letters where failures -> 0 ->> 'outcome' = 'failed'
                and not failures -> 0 ? 'error'";
    assert_eq!(db.count(kept).await, 1);
}

/// A workflow about a person, with a step that waits, and a callback that names the person.
async fn letters(conn: &mut waybill_schema::Conn, person: Uuid) -> Uuid {
    waybill_jobs::Workflow::new("letters to Ada Lovelace")
        .step("first", &greet(person, false))
        .undo(&greet(person, false))
        .then("second", &greet(person, false))
        .when_over(&greet(person, false))
        .subject(person)
        .start(conn)
        .await
        .unwrap()
}

/// In the clear, as from before the kind was sealed: what is left of it can be seen.
async fn in_the_clear(db: &TestDatabase, person: Uuid) {
    let plain = json!({ "person": person, "name": "Ada Lovelace", "fails": false }).to_string();
    db.execute(&format!(
        "update flow_steps set job = jsonb_set(job, '{{payload}}', '{plain}'),
             undo = case when undo is not null then jsonb_set(undo, '{{payload}}', '{plain}') end;
         update flows set when_over = jsonb_set(when_over, '{{payload}}', '{plain}');
         update jobs set payload = '{plain}'"
    ))
    .await;
}

#[tokio::test]
async fn a_flow_that_is_not_over_is_left_and_counted_until_it_is() {
    seal::install(Reversed);
    let db = TestDatabase::create().await;
    let person = new_id();
    let mut conn = db.conn().await;
    let id = letters(&mut conn, person).await;
    in_the_clear(&db, person).await;
    let registry = Registry::new().job::<Greet>(greets);
    assert_eq!(drain(db.pool(), &registry, QUEUE).await.len(), 1);
    let left = erase(&mut conn, person, Live::Leave).await.unwrap();
    assert_eq!((left.jobs, left.flows, left.live), (1, 0, 1), "the flow is live, though no job of it is");
    assert_eq!(mentions(&db, "flow_steps").await, 2, "what is still to run keeps its arguments");
    drain_all(db.pool(), &registry).await;
    assert_eq!(db.count("select count(*) as n from flows where state = 'done'").await, 1);
    let rest = erase(&mut conn, person, Live::Leave).await.unwrap();
    assert_eq!((rest.jobs, rest.flows, rest.live), (2, 1, 0), "the second step, the callback, and the flow");
    for table in ["flows", "flow_steps", "jobs", "job_history", "job_logs"] {
        assert_eq!(mentions(&db, table).await, 0, "{table}");
    }
    assert_eq!(erase(&mut conn, person, Live::Leave).await.unwrap(), Counts::default(), "{id} once");
}

#[tokio::test]
async fn an_open_flow_that_is_cancelled_by_an_erasure_first_undoes_what_it_did() {
    seal::install(Reversed);
    let db = TestDatabase::create().await;
    let person = new_id();
    let mut conn = db.conn().await;
    letters(&mut conn, person).await;
    in_the_clear(&db, person).await;
    let registry = Registry::new().job::<Greet>(greets);
    drain(db.pool(), &registry, QUEUE).await;
    waybill_jobs::flows::sweep(&mut conn).await.unwrap();
    assert_eq!(enqueued_steps(&db).await, 1, "the second step waits");
    let first = erase(&mut conn, person, Live::Cancel).await.unwrap();
    assert_eq!(first.live, 2, "the flow, and the job that undoes its first step");
    assert_eq!(db.count("select count(*) as n from flows where state = 'undoing'").await, 1);
    drain_all(db.pool(), &registry).await;
    assert_eq!(db.count("select count(*) as n from flows where state = 'cancelled'").await, 1);
    assert_eq!(erase(&mut conn, person, Live::Cancel).await.unwrap().live, 0);
    for table in ["flows", "flow_steps", "jobs", "job_history", "job_logs"] {
        assert_eq!(mentions(&db, table).await, 0, "{table}");
    }
}

async fn enqueued_steps(db: &TestDatabase) -> i64 {
    db.count("select count(*) as n from jobs where step is not null").await
}
