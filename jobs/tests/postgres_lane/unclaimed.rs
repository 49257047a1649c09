//! Running jobs without the row of a claim, and a process that is killed while it gives them one.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use diesel_async::SimpleAsyncConnection as _;
use waybill_jobs::{
    Outcome,
    postgres::claim,
    reaper::{name_unclaimed, sweep},
    testing::{TestDatabase, register, until},
};

use crate::rig::{Probe, QUEUE, Rig, config, put_many, registry};

/// More than one pass names.
const JOBS: usize = 1_500;
/// Names the database of the process that the test starts.
const DATABASE: &str = "WAYBILL_UNCLAIMED_DATABASE";
/// Running jobs of which not exactly one claim knows.
const UNNAMED: &str = "select count(*) as n from jobs j where state = 'running'
    and 1 <> (select count(*) from job_claims c where c.id = j.claim_batch and j.id = any (c.ids))";
const INSIDE: &str = "select count(*) as n from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query like '%update jobs set state = state%'";

/// Not a test: the process that the test below starts and kills.
#[test]
#[ignore = "a process of the test of running jobs that no claim names"]
fn a_process_that_names() {
    let Ok(url) = std::env::var(DATABASE) else { return };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let pool = waybill_schema::db::connect(&url, 1, Duration::from_secs(5)).await.unwrap();
        name_unclaimed(&mut pool.get().await.unwrap()).await.unwrap();
    });
}

struct Process(Child);

impl Process {
    fn start(db: &TestDatabase) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "unclaimed::a_process_that_names", "--ignored", "--nocapture"])
            .env(DATABASE, db.url())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whoever dies in the middle has named a whole pass or nothing, as the server learns of it late or early.
async fn killed_in_the_middle(server_notices: bool) {
    let db = TestDatabase::create().await;
    let worker = register(db.pool()).await;
    put_many(&db, &vec![Probe::default(); JOBS]).await;
    let claimed = claim(&mut *db.conn().await, QUEUE, worker, JOBS).await.unwrap();
    assert_eq!(claimed.len(), JOBS);
    db.execute("delete from job_claims").await;
    assert_eq!(db.count(UNNAMED).await, 1_500);

    // Nobody writes a claim's row before this ends: whoever names stands in the middle of its statement.
    let mut door = db.conn().await;
    door.batch_execute(
        "set idle_in_transaction_session_timeout = 0; begin; lock table job_claims in share mode",
    )
    .await
    .unwrap();
    let mut process = Process::start(&db);
    until("the process to be in the middle", async || db.count(INSIDE).await == 1).await;
    process.0.kill().unwrap();
    process.0.wait().unwrap();
    if server_notices {
        let end = INSIDE.replacen("count(*)", "count(pg_terminate_backend(pid))", 1);
        assert_eq!(db.count(&end).await, 1);
        until("its session to be gone", async || db.count(INSIDE).await == 0).await;
    }
    door.batch_execute("commit").await.unwrap();
    drop(door);
    let left = if server_notices { 1_500 } else { 500 };
    until("the pass to have ended", async || db.count(UNNAMED).await == left).await;

    let mut named = Vec::new();
    while db.count(UNNAMED).await > 0 {
        named.push(name_unclaimed(&mut *db.conn().await).await.unwrap());
    }
    assert_eq!(named, if server_notices { vec![1_000, 500] } else { vec![500] });
    assert_eq!(name_unclaimed(&mut *db.conn().await).await.unwrap(), 0);

    // So their worker's end is noticed: each is put back once, and runs once to its end.
    db.execute(&format!("delete from workers where id = '{worker}'")).await;
    let taken = sweep(&mut *db.conn().await, Duration::from_secs(1), true).await.unwrap();
    assert_eq!((taken.put_back, taken.buried), (1_500, 0));
    let rig = Rig::start(&db, registry(async |_, _| Ok(Outcome::done())), config());
    until("all have ended", async || db.count("select count(*) as n from jobs").await == 0).await;
    rig.stop().await;
    let once =
        "select count(distinct id) as n from job_history where state = 'done' and attempt = 2 and claim = 2";
    assert_eq!(
        (db.count(once).await, db.count("select count(*) as n from job_history").await),
        (1_500, 1_500)
    );
    assert_eq!(db.count("select count(*) as n from job_claims").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_whose_process_was_killed_ends_all_the_same() {
    killed_in_the_middle(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_whose_session_ended_with_its_process_is_made_again() {
    killed_in_the_middle(true).await;
}
