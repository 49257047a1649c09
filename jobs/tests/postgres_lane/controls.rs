use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use waybill_jobs::{
    Enqueue, Job, JobContext, Outcome, Policy, control,
    postgres::{
        claim,
        complete::complete_done,
        holds::{hold_followers, hold_kinds, let_go, tidy},
    },
    testing::{TestDatabase, register, until},
};

use crate::rig::{Probe, QUEUE, Rig, config, put, put_many, registry, view};

/// Needs what may be away.
#[derive(Debug, Serialize, Deserialize)]
struct Needy {}

impl Job for Needy {
    const KIND: &'static str = "test.needy";
    const QUEUE: &'static str = QUEUE;
    const POLICY: Policy = Policy { max_attempts: 3, ..Policy::DEFAULT };
    const NEEDS: &'static [&'static str] = &["gateway"];
}

async fn put_needy(db: &TestDatabase) -> uuid::Uuid {
    waybill_jobs::enqueue(&*db.conn().await, &Needy {}).await.unwrap()
}

async fn take(db: &TestDatabase, worker: uuid::Uuid, limit: usize) -> Vec<uuid::Uuid> {
    let claimed = claim(&mut *db.conn().await, QUEUE, worker, limit).await.unwrap();
    claimed.into_iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn a_paused_queue_gives_nothing_from_the_next_claim_on_and_shows_when_it_is_dry() {
    let db = TestDatabase::create().await;
    put_many(&db, &vec![Probe::default(); 3]).await;
    let worker = register(db.pool()).await;
    let mut conn = db.conn().await;
    let running = take(&db, worker, 1).await;
    assert!(control::pause_queue(&mut conn, QUEUE, "op", "why").await.unwrap());
    assert!(!control::pause_queue(&mut conn, QUEUE, "another", "too").await.unwrap());
    assert!(take(&db, worker, 5).await.is_empty());
    let shown = control::queue(&mut conn, QUEUE).await.unwrap().unwrap();
    assert_eq!(
        (shown.paused_by.as_deref(), shown.pause_reason.as_deref(), shown.running),
        (Some("op"), Some("why"), 1)
    );
    db.execute("update queue_controls set paused_at = now() - interval '3 s'").await;
    assert!(!control::queue(&mut conn, QUEUE).await.unwrap().unwrap().is_dry(), "one runs");
    complete_done(&mut conn, &[(running[0], 1)], &[None]).await.unwrap();
    assert!(control::queue(&mut conn, QUEUE).await.unwrap().unwrap().is_dry());
    assert!(control::resume_queue(&mut conn, QUEUE, "op").await.unwrap());
    assert!(!control::resume_queue(&mut conn, QUEUE, "op").await.unwrap());
    assert_eq!(take(&db, worker, 5).await.len(), 2);
}

#[tokio::test]
async fn jobs_of_a_paused_kind_are_held_once_and_come_back() {
    let db = TestDatabase::create().await;
    let mut conn = db.conn().await;
    put_many(&db, &vec![Probe::default(); 5_000]).await;
    let other = put_needy(&db).await;
    let worker = register(db.pool()).await;
    control::pause_kind(&mut conn, Probe::KIND, "op", "").await.unwrap();
    assert_eq!(take(&db, worker, 10).await, [other], "strictly, whether held or not");
    let mut held = 0;
    loop {
        let more = hold_kinds(&mut conn, QUEUE).await.unwrap();
        held += more;
        if more == 0 {
            break;
        }
    }
    assert_eq!(held, 5_000);
    assert!(let_go(&mut conn).await.unwrap().queues.is_empty(), "still paused");
    control::resume_kind(&mut conn, Probe::KIND, "op").await.unwrap();
    while !let_go(&mut conn).await.unwrap().queues.is_empty() {}
    assert_eq!(db.count("select count(*) as n from jobs where hold is not null").await, 0);
    assert_eq!(take(&db, worker, 10).await.len(), 10);
}

#[tokio::test]
async fn what_needs_something_that_is_down_waits_without_an_attempt_and_one_tries_after_the_rest() {
    let db = TestDatabase::create().await;
    let mut conn = db.conn().await;
    control::declare(
        &mut conn,
        &registry(|_, _| async { Ok(Outcome::done()) }).job::<Needy>(run_needy).declared(),
    )
    .await
    .unwrap();
    let needy = [put_needy(&db).await, put_needy(&db).await];
    let free = put(&db, &Probe::default()).await;
    let worker = register(db.pool()).await;
    db.execute("update workers set queues = '{test}'").await;
    control::dependency_down(&mut conn, "gateway", Duration::from_mins(1), "no answer").await.unwrap();
    assert_eq!(take(&db, worker, 5).await, [free]);
    assert_eq!(hold_kinds(&mut conn, QUEUE).await.unwrap(), 2);
    assert!(let_go(&mut conn).await.unwrap().queues.is_empty(), "the rest lasts");
    db.execute("update dependencies set down_until = now()").await;
    assert_eq!(let_go(&mut conn).await.unwrap().queues, [QUEUE]);
    assert!(let_go(&mut conn).await.unwrap().queues.is_empty(), "one at a time");
    assert_eq!(hold_kinds(&mut conn, QUEUE).await.unwrap(), 0, "the one that tries is not held again");
    assert_eq!(take(&db, worker, 5).await, [needy[0]]);
    assert_eq!(view(&db, needy[1]).await.attempt, 0);
    assert!(control::dependency_up(&mut conn, "gateway").await.unwrap());
    assert_eq!(let_go(&mut conn).await.unwrap().queues, [QUEUE]);
    assert_eq!(take(&db, worker, 5).await, [needy[1]]);
}

async fn run_needy(_: Needy, _: JobContext) -> waybill_jobs::JobResult {
    Ok(Outcome::done())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_takes_up_that_a_dependency_is_up_again_by_itself() {
    let db = TestDatabase::create().await;
    control::dependency_down(&mut *db.conn().await, "gateway", Duration::from_hours(1), "").await.unwrap();
    let rig =
        Rig::start(&db, registry(|_, _| async { Ok(Outcome::done()) }).job::<Needy>(run_needy), config());
    until("its needs are known", || async { db.count("select count(*) as n from kind_needs").await == 1 })
        .await;
    let id = put_needy(&db).await;
    until("it is held", || async {
        db.count("select count(*) as n from jobs where hold = 'needs:gateway'").await == 1
    })
    .await;
    assert_eq!(view(&db, id).await.state, "queued");
    control::dependency_up(&mut *db.conn().await, "gateway").await.unwrap();
    let done = crate::rig::when(&db, id, "done").await;
    assert_eq!((done.attempt, done.snoozes), (1, 0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_worker_takes_up_more_and_fewer_places_and_drops_nothing() {
    let db = TestDatabase::create().await;
    let release = Arc::new(AtomicBool::new(false));
    let handler = {
        let release = Arc::clone(&release);
        move |_: Probe, _: JobContext| {
            let release = Arc::clone(&release);
            async move {
                while !release.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok(Outcome::done())
            }
        }
    };
    let mut rig = Rig::start(&db, registry(handler), config());
    put_many(&db, &vec![Probe::default(); 60]).await;
    let running = "select count(*) as n from jobs where state = 'running'";
    until("eight run", || async { db.count(running).await == 8 }).await;
    control::set_places(&mut *db.conn().await, QUEUE, None, Some(20), "op").await.unwrap();
    until("twenty run", || async { db.count(running).await == 20 }).await;
    // One worker's own goes before that of all.
    let id = rig.id().await;
    control::set_places(&mut *db.conn().await, QUEUE, Some(id), Some(3), "op").await.unwrap();
    db.execute("update workers set heartbeat_at = heartbeat_at").await;
    let asked = std::time::Instant::now();
    until("a second has passed", || async { asked.elapsed() > Duration::from_secs(1) }).await;
    assert_eq!(db.count(running).await, 20, "what runs goes on");
    control::pause_queue(&mut *db.conn().await, QUEUE, "op", "").await.unwrap();
    release.store(true, Ordering::Relaxed);
    until("they are done", || async { db.count(running).await == 0 }).await;
    assert_eq!(db.count("select count(*) as n from job_history where attempt = 1").await, 20);
    release.store(false, Ordering::Relaxed);
    control::resume_queue(&mut *db.conn().await, QUEUE, "op").await.unwrap();
    until("three run", || async { db.count(running).await == 3 }).await;
    let asked = std::time::Instant::now();
    until("no more do", || async {
        assert_eq!(db.count(running).await, 3);
        asked.elapsed() > Duration::from_millis(300)
    })
    .await;
    control::set_places(&mut *db.conn().await, QUEUE, Some(id), None, "op").await.unwrap();
    until("as all others", || async { db.count(running).await == 20 }).await;
    release.store(true, Ordering::Relaxed);
    until("all are done", || async { db.count("select count(*) as n from jobs").await == 0 }).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_crowd_of_followers_is_held_and_each_is_let_go_when_the_one_before_it_leaves() {
    let db = TestDatabase::create().await;
    let mut conn = db.conn().await;
    let keyed = |n| Probe { n, key: Some("busy".to_owned()) };
    let ids = put_many(&db, &(0..300).map(keyed).collect::<Vec<_>>()).await;
    let alone = put(&db, &Probe { n: 0, key: Some("calm".to_owned()) }).await;
    let worker = register(db.pool()).await;
    assert_eq!(hold_followers(&mut conn, QUEUE).await.unwrap(), 299);
    assert_eq!(take(&db, worker, 10).await, [ids[0], alone]);
    assert!(take(&db, worker, 10).await.is_empty());
    for pair in ids[..20].windows(2) {
        complete_done(&mut conn, &[(pair[0], 1)], &[None]).await.unwrap();
        assert_eq!(take(&db, worker, 10).await, [pair[1]]);
    }
    assert_eq!(hold_followers(&mut conn, QUEUE).await.unwrap(), 0, "nothing to hold");
    // What no trigger saw is put right.
    db.execute("alter table jobs disable trigger jobs_gone").await;
    complete_done(&mut conn, &[(ids[19], 1)], &[None]).await.unwrap();
    assert!(take(&db, worker, 10).await.is_empty());
    tidy(&mut conn).await.unwrap();
    assert_eq!(take(&db, worker, 10).await, [ids[20]]);
}

#[tokio::test]
async fn nothing_is_held_behind_a_job_that_is_about_to_leave() {
    let db = TestDatabase::create().await;
    let mut conn = db.conn().await;
    let keyed = |n| Probe { n, key: Some("busy".to_owned()) };
    let ids = put_many(&db, &(0..200).map(keyed).collect::<Vec<_>>()).await;
    let pool = db.pool().clone();
    diesel_async::AsyncConnection::transaction(&mut *conn, async |conn| {
        diesel_async::RunQueryDsl::execute(
            diesel::sql_query(format!("delete from jobs where id = '{}'", ids[0])),
            conn,
        )
        .await?;
        assert_eq!(hold_followers(&mut pool.get().await.unwrap(), QUEUE).await.unwrap(), 0);
        diesel::QueryResult::Ok(())
    })
    .await
    .unwrap();
    assert_eq!(take(&db, register(db.pool()).await, 10).await, [ids[1]]);
}

#[tokio::test]
async fn a_step_of_priority_is_worth_a_minute_of_waiting_and_no_more() {
    let db = TestDatabase::create().await;
    let old = chrono::Utc::now() - chrono::TimeDelta::minutes(12);
    let options = |priority, run_at| Enqueue { priority, run_at, ..Enqueue::default() };
    let patient = crate::rig::put_with(&db, &Probe::default(), options(10, Some(old))).await;
    let urgent = crate::rig::put_with(&db, &Probe::default(), options(-5, None)).await;
    let plain = crate::rig::put_with(&db, &Probe::default(), options(0, None)).await;
    let worker = register(db.pool()).await;
    assert_eq!(take(&db, worker, 5).await, [urgent, patient, plain]);
}

#[tokio::test]
async fn a_claim_walks_the_index_in_order_and_sorts_nothing() {
    #[derive(diesel::QueryableByName)]
    struct Line {
        #[diesel(sql_type = diesel::sql_types::Text, column_name = "QUERY PLAN")]
        line: String,
    }
    let db = TestDatabase::create().await;
    db.execute(
        "insert into jobs (id, kind, queue, max_attempts, payload, run_at)
         select gen_random_uuid(), 'k', 'q' || n % 3, 3, '{}', now() - n * interval '1 s' from generate_series(1, 20000) n;
         analyze jobs;",
    )
    .await;
    let plan: Vec<Line> = diesel_async::RunQueryDsl::load(
        diesel::sql_query(
            "explain select ctid from jobs where queue = 'q1' and due and state = 'queued' and hold is null
             order by (run_at at time zone 'UTC') + priority * interval '1 minute', id limit 100
             for no key update skip locked",
        ),
        &mut *db.conn().await,
    )
    .await
    .unwrap();
    let plan = plan.into_iter().map(|line| line.line).collect::<Vec<_>>().join("\n");
    assert!(plan.contains("Index Scan using jobs_ready") && !plan.contains("Sort"), "{plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_key_keeps_its_order_while_followers_are_held_and_let_go() {
    let db = TestDatabase::create().await;
    let keyed = |n| Probe { n, key: Some("busy".to_owned()) };
    put_many(&db, &(0..300).map(keyed).collect::<Vec<_>>()).await;
    assert!(hold_followers(&mut *db.conn().await, QUEUE).await.unwrap() > 0);
    let seen: Arc<std::sync::Mutex<Vec<i64>>> = Arc::default();
    let rigs: Vec<_> = (0..2)
        .map(|_| {
            let seen = Arc::clone(&seen);
            let handler = move |job: Probe, _: JobContext| {
                seen.lock().unwrap().push(job.n);
                async { Ok(Outcome::done()) }
            };
            Rig::start(&db, registry(handler), config())
        })
        .collect();
    until("all have run", || async { db.count("select count(*) as n from jobs").await == 0 }).await;
    for rig in rigs {
        rig.stop().await;
    }
    assert_eq!(*seen.lock().unwrap(), (0..300).collect::<Vec<_>>());
}
