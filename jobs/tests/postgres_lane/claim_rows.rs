//! What a claim writes: rows where they are, and one row that says who has them.

use uuid::Uuid;
use waybill_jobs::{
    postgres::{
        Ask, Completion, Entry, PutBack, claim, claims, complete,
        complete::{End, complete_done},
        put_back,
    },
    reaper::name_unclaimed,
    testing::{TestDatabase, register, until},
};

use crate::rig::{Probe, QUEUE, Rig, config, put_many, registry, view};

const RUNNING: &str = "select count(*) as n from running_jobs";
const ROWS: &str = "select count(*) as n from job_claims";

fn ask(worker: Uuid, limit: usize) -> Ask<'static> {
    Ask { queue: QUEUE, worker, limit, after: None, over: &[] }
}

#[tokio::test]
async fn a_claim_leaves_every_index_of_jobs_alone() {
    let db = TestDatabase::create().await;
    let worker = register(db.pool()).await;
    db.execute("alter table jobs set (autovacuum_enabled = false)").await;
    put_many(&db, &vec![Probe::default(); 400]).await;
    let entries = "select sum(pg_relation_size(indexrelid))::bigint / 8192 as n from pg_index where indrelid = 'jobs'::regclass";
    let before = db.count(entries).await;
    assert_eq!(claim(&mut *db.conn().await, QUEUE, worker, 400).await.unwrap().len(), 400);
    assert_eq!(db.count(entries).await, before);
    until("the statistics of 400 updates", async || {
        db.count("select n_tup_upd as n from pg_stat_user_tables where relid = 'jobs'::regclass").await >= 400
    })
    .await;
    let hot =
        db.count("select n_tup_hot_upd as n from pg_stat_user_tables where relid = 'jobs'::regclass").await;
    assert!(hot >= 380, "{hot} of 400 rows were written beside the old ones");
}

#[tokio::test]
async fn what_runs_is_found_by_its_claim_until_it_ends() {
    let db = TestDatabase::create().await;
    let (a, b) = (register(db.pool()).await, register(db.pool()).await);
    put_many(&db, &vec![Probe::default(); 5]).await;
    let mut conn = db.conn().await;
    let mine = claim(&mut conn, QUEUE, a, 3).await.unwrap();
    let theirs = claim(&mut conn, QUEUE, b, 3).await.unwrap();
    assert_eq!((mine.len(), theirs.len()), (3, 2));
    assert_eq!((db.count(RUNNING).await, db.count(ROWS).await), (5, 2));

    // Put back and claimed by the other: it runs once, and under the new claim.
    let back = PutBack {
        id: mine[0].id,
        claim: mine[0].claim,
        delay: std::time::Duration::ZERO,
        refund: false,
        snooze: false,
        entry: Some(Entry::new("failed", "again")),
    };
    put_back(&mut conn, &[back]).await.unwrap();
    assert_eq!(db.count(RUNNING).await, 4);
    let again = claim(&mut conn, QUEUE, b, 3).await.unwrap();
    assert_eq!(again[0].id, mine[0].id);
    let of_b = format!("{RUNNING} where worker_id = '{b}'");
    assert_eq!((db.count(RUNNING).await, db.count(&of_b).await), (5, 3));

    // The row of a claim goes with a later one, and only if it is the worker's own.
    let over = [mine[0].claim_batch, theirs[0].claim_batch];
    claims(&mut conn, &Ask { over: &over, ..ask(b, 1) }).await.unwrap();
    assert_eq!(db.count(&format!("{ROWS} where id = any('{{{},{}}}')", over[0], over[1])).await, 1);
    // An idle claim leaves no row.
    assert_eq!(db.count(ROWS).await, 2);
}

#[tokio::test]
async fn a_claim_goes_on_behind_the_last_one_and_one_from_the_front_finds_the_rest() {
    let db = TestDatabase::create().await;
    let worker = register(db.pool()).await;
    let ids = put_many(&db, &vec![Probe::default(); 6]).await;
    let mut conn = db.conn().await;
    let first = claims(&mut conn, &ask(worker, 2)).await.unwrap();
    let second = claims(&mut conn, &Ask { after: first.reached, ..ask(worker, 2) }).await.unwrap();
    assert_eq!(second.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), ids[2..4]);
    assert!(second.reached > first.reached);
    // Urgent, or committed late.
    db.execute(&format!("update jobs set run_at = run_at - interval '1 s' where id = '{}'", ids[5])).await;
    let behind = claims(&mut conn, &Ask { after: second.reached, ..ask(worker, 2) }).await.unwrap();
    assert_eq!(behind.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), ids[4..5]);
    let none = claims(&mut conn, &Ask { after: behind.reached, ..ask(worker, 2) }).await.unwrap();
    assert!(none.jobs.is_empty() && none.reached.is_none());
    assert_eq!(claims(&mut conn, &ask(worker, 2)).await.unwrap().jobs[0].id, ids[5]);
}

#[tokio::test]
async fn a_job_on_which_something_was_noted_is_found_all_the_same() {
    let db = TestDatabase::create().await;
    let worker = register(db.pool()).await;
    put_many(&db, &vec![Probe::default(); 3]).await;
    let mut conn = db.conn().await;
    let jobs = claim(&mut conn, QUEUE, worker, 3).await.unwrap();
    db.execute(&format!("update jobs set progress = '{{}}' where id = '{}'", jobs[1].id)).await;
    let end = |job: &waybill_jobs::postgres::Claimed, claim| Completion {
        id: job.id,
        claim,
        place: job.place,
        end: End::Done(None),
    };
    let ends = [end(&jobs[0], 1), end(&jobs[1], 1), end(&jobs[2], 2)];
    let mut held = complete(&mut conn, &ends).await.unwrap();
    held.sort_unstable();
    assert_eq!(held, [jobs[0].id, jobs[1].id]);
    assert_eq!(view(&db, jobs[2].id).await.state, "running", "its claim was another");
}

/// Old and new workers run side by side while a release goes out.
#[tokio::test]
async fn jobs_that_an_older_worker_takes_are_found_too() {
    let db = TestDatabase::create().await;
    let old = register(db.pool()).await;
    let ids = put_many(&db, &vec![Probe::default(); 3]).await;
    let take = format!(
        "update jobs set state = 'running', worker_id = '{old}', claimed_at = now(), attempt = attempt + 1,
             claim = claim + 1, hold = null where id = any (array['{}', '{}']::uuid[])",
        ids[0], ids[1]
    );
    db.execute(&take).await;
    assert_eq!(db.count(&format!("{RUNNING} where worker_id = '{old}'")).await, 2);
    db.execute(
        "update jobs set state = 'queued', worker_id = null, claimed_at = null where state = 'running'",
    )
    .await;
    assert_eq!(db.count(RUNNING).await, 0);
    db.execute(&take).await;
    assert_eq!(db.count(RUNNING).await, 2, "a second time, under a claim of its own");
}

#[tokio::test]
async fn a_running_job_that_no_claim_names_gets_one_again() {
    let db = TestDatabase::create().await;
    let worker = register(db.pool()).await;
    put_many(&db, &vec![Probe::default(); 3]).await;
    let mut conn = db.conn().await;
    let jobs = claim(&mut conn, QUEUE, worker, 2).await.unwrap();
    assert_eq!(name_unclaimed(&mut conn).await.unwrap(), 0);
    db.execute("delete from job_claims").await;
    assert_eq!(db.count(RUNNING).await, 0);
    assert_eq!(name_unclaimed(&mut conn).await.unwrap(), 2);
    assert_eq!(db.count(&format!("{RUNNING} where worker_id = '{worker}'")).await, 2);
    let done: Vec<_> = jobs.iter().map(|job| (job.id, job.claim)).collect();
    assert_eq!(complete_done(&mut conn, &done, &[None, None]).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_leaves_no_rows_of_claims_behind() {
    let db = TestDatabase::create().await;
    put_many(&db, &vec![Probe::default(); 300]).await;
    let registry = registry(|_, _| async { Ok(waybill_jobs::Outcome::done()) });
    let worker = Rig::start(&db, registry, config());
    until("all are done", async || db.count("select count(*) as n from job_history").await == 300).await;
    // The row of the last claim goes with a later one, which an idle worker makes within a second.
    until("no claim is left", async || db.count(ROWS).await == 0).await;
    worker.stop().await;
}
