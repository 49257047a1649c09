//! A job that kills every process it runs in, and what becomes of its neighbours.

use std::{
    collections::HashSet,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_jobs::{
    JobContext, JobResult, Outcome,
    postgres::suspects::release,
    reaper::sweep,
    runtime::{Worker, WorkerConfig},
    testing::{TestDatabase, register, until},
};

use crate::rig::{Probe, QUEUE, Rig, config, outcomes, put_many, registry, view};

const NEIGHBOURS: usize = 20;
/// Names the database of the process that this test starts.
const DATABASE: &str = "WAYBILL_POISON_DATABASE";

fn quick() -> WorkerConfig {
    let queues = vec![(QUEUE.to_owned(), NEIGHBOURS + 1)];
    WorkerConfig { queues, grace: Duration::from_millis(100), ..config() }
}

/// The first two times it strikes when all are there. Afterwards at once, which is long before a neighbour ends.
async fn poison(running: &AtomicUsize, attempt: i16) -> JobResult {
    while attempt <= 2 && running.load(Ordering::SeqCst) <= NEIGHBOURS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Command::new("kill").args(["-9", &std::process::id().to_string()]).status()?;
    std::future::pending().await
}

async fn neighbour(attempt: i16) -> JobResult {
    if attempt <= 2 {
        return std::future::pending().await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(Outcome::done())
}

/// Not a test: the worker that the test below starts as a process of its own.
#[test]
#[ignore = "a worker process of the test of poison jobs"]
fn a_worker_process() {
    let Ok(url) = std::env::var(DATABASE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = waybill_schema::db::connect(&url, 4, Duration::from_secs(5)).await.unwrap();
        let running = Arc::new(AtomicUsize::new(0));
        let handler = move |job: Probe, context: JobContext| {
            let running = Arc::clone(&running);
            async move {
                running.fetch_add(1, Ordering::SeqCst);
                if job.n == 0 {
                    poison(&running, context.attempt).await
                } else {
                    neighbour(context.attempt).await
                }
            }
        };
        Worker::new(url.as_str(), pool, registry(handler), quick())
            .run(CancellationToken::new())
            .await
            .unwrap();
    });
}

struct Process(Child);

impl Process {
    fn start(db: &TestDatabase) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "poison::a_worker_process", "--ignored", "--nocapture"])
            .env(DATABASE, db.url())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_its_processes_takes_nobody_along() {
    let db = TestDatabase::create().await;
    let probes: Vec<_> = (0..=NEIGHBOURS).map(|n| Probe { n: n.try_into().unwrap(), key: None }).collect();
    let ids = put_many(&db, &probes).await;
    let reaping = Rig::start(
        &db,
        registry(async |_, _| Ok(Outcome::done())),
        WorkerConfig { queues: vec![], ..quick() },
    );
    let mut process = Process::start(&db);
    let mut deaths = 0;
    until("all is over", || {
        if process.0.try_wait().unwrap().is_some() {
            deaths += 1;
            process = Process::start(&db);
        }
        async {
            // How long it waits between its losses is not what is tested.
            db.execute("update jobs set run_at = now() where hold = 'suspect' and run_at > now()").await;
            db.count("select count(*) as n from jobs").await == 0
        }
    })
    .await;
    let dead = view(&db, ids[0]).await;
    assert_eq!(dead.state, "dead");
    // Two in company, which it did not pay for, and its three attempts.
    assert_eq!((outcomes(&dead), dead.attempt, deaths), (vec!["worker_lost".to_owned(); 5], 5, 5));
    for id in &ids[1..] {
        let view = view(&db, *id).await;
        assert_eq!((view.state.as_str(), outcomes(&view)), ("done", vec!["worker_lost".to_owned(); 2]));
    }
    reaping.stop().await;
}

/// Jobs that run in a worker whose lease has run out: the next sweep takes them over. Each with the workers it has lost so far.
async fn running_in_a_dead_worker(db: &TestDatabase, losses: &[i16]) -> Vec<Uuid> {
    let ids = put_many(db, &vec![Probe::default(); losses.len()]).await;
    let worker = register(db.pool()).await;
    db.execute(&format!("update workers set lease_until = now() - interval '1 s' where id = '{worker}'"))
        .await;
    for (id, losses) in ids.iter().zip(losses) {
        db.execute(&format!(
            "update jobs set state = 'running', worker_id = '{worker}', claimed_at = now(), attempt = 3, claim = 3,
                 losses = {losses} where id = '{id}'"
        ))
        .await;
    }
    ids
}

async fn taken_over(db: &TestDatabase, losses: &[i16]) -> Vec<&'static str> {
    let ids = running_in_a_dead_worker(db, losses).await;
    sweep(&mut *db.conn().await, Duration::from_secs(1), true).await.unwrap();
    let mut fates = Vec::new();
    for id in ids {
        let job = view(db, id).await;
        let one = async |what: &str| {
            db.count(&format!("select count(*) as n from jobs where id = '{id}' and {what}")).await == 1
        };
        let (given_back, held) =
            (one("max_attempts = 4").await, one("hold = 'suspect' and run_at <= now()").await);
        fates.push(match (job.state.as_str(), given_back, held) {
            ("queued", true, false) => "free",
            ("queued", true, true) => "free, held",
            ("dead", ..) => "charged",
            other => panic!("{other:?}"),
        });
    }
    fates
}

#[tokio::test]
async fn a_loss_costs_an_attempt_only_where_nobody_else_is_to_blame() {
    let db = TestDatabase::create().await;
    // Each was at its last attempt: whoever is charged is dead.
    assert_eq!(taken_over(&db, &[0]).await, ["charged"], "alone");
    assert_eq!(taken_over(&db, &[0, 0]).await, ["free", "free"]);
    assert_eq!(taken_over(&db, &[1, 0]).await, ["free, held", "free"], "twice is no proof");
    assert_eq!(taken_over(&db, &[2, 0, 1]).await, ["charged", "free", "free, held"], "the only suspect");
    assert_eq!(taken_over(&db, &[2, 2, 0]).await, ["free, held", "free, held", "free"], "one of two");
    assert_eq!(taken_over(&db, &[15, 15]).await, ["free, held", "free, held"]);
    assert_eq!(taken_over(&db, &[16, 15]).await, ["charged", "free, held"], "it ends in any case");
    assert_eq!(db.count("select count(*) as n from dead_letters").await, 3);
}

#[tokio::test]
async fn suspects_of_a_queue_are_let_go_one_at_a_time() {
    let db = TestDatabase::create().await;
    let ids = put_many(&db, &vec![Probe { n: 0, key: Some("k".to_owned()) }; 2]).await;
    let others = put_many(&db, &vec![Probe::default(); 2]).await;
    db.execute("update jobs set hold = 'suspect', losses = 2").await;
    let worker = register(db.pool()).await;
    let mut conn = db.conn().await;
    let mut claimed = HashSet::new();
    // The second of the key is the follower of the first, and is never let go before it.
    for expected in [ids[0], ids[1], others[0], others[1]] {
        let released = release(&mut conn).await.unwrap();
        assert_eq!((released.queues, released.waiting), (vec![QUEUE.to_owned()], true));
        assert!(release(&mut conn).await.unwrap().queues.is_empty(), "one is on its way");
        let jobs = waybill_jobs::postgres::claim(&mut conn, QUEUE, worker, 10).await.unwrap();
        assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [expected]);
        assert!(release(&mut conn).await.unwrap().queues.is_empty(), "it runs");
        claimed.insert(expected);
        if expected == others[0] {
            // It lives on, and keeps the last one waiting for half a minute only.
            db.execute("update jobs set claimed_at = now() - interval '31 s' where state = 'running'").await;
        } else {
            db.execute("delete from jobs where state = 'running'").await;
        }
    }
    assert_eq!(claimed.len(), 4);
    assert!(!release(&mut conn).await.unwrap().waiting);
}

#[tokio::test]
async fn a_suspect_that_waits_or_whose_kind_is_paused_keeps_nobody_else_waiting() {
    let db = TestDatabase::create().await;
    let ids = put_many(&db, &vec![Probe::default(); 3]).await;
    db.execute("update jobs set hold = 'suspect', losses = 2").await;
    db.execute(&format!("update jobs set run_at = now() + interval '1 hour' where id = '{}'", ids[0])).await;
    db.execute(&format!(
        "update jobs set kind = 'test.paused', run_at = now() - interval '1 hour' where id = '{}'",
        ids[1]
    ))
    .await;
    db.execute(
        "insert into kind_controls (kind, paused_at, updated_by) values ('test.paused', now(), 'test')",
    )
    .await;
    assert_eq!(release(&mut *db.conn().await).await.unwrap().queues, [QUEUE]);
    assert_eq!(
        db.count(&format!("select count(*) as n from jobs where hold is null and id = '{}'", ids[2])).await,
        1
    );
}
