//! The front of a dependency's hold, when none of the jobs there can try.

use std::time::{Duration, Instant};

use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_jobs::{
    Job, control,
    postgres::{
        complete::complete_done,
        holds::{hold_kinds, let_go},
    },
    testing::{TestDatabase, serve},
};

use crate::{
    bloat::{planned, touched},
    rig::{Probe, QUEUE, put},
};

/// Needs what may be away.
#[derive(Debug, Serialize, Deserialize)]
struct Needy {}

impl Job for Needy {
    const KIND: &'static str = "test.needy";
    const QUEUE: &'static str = QUEUE;
    const NEEDS: &'static [&'static str] = &["gateway"];
}

/// A dependency that is down and whose rest is over, and so many jobs of a kind that wait for it, of one partition key or none.
async fn outage(jobs: i64, key: &str) -> (TestDatabase, Uuid) {
    let db = TestDatabase::create().await;
    let worker = serve(db.pool(), &[QUEUE]).await;
    control::dependency_down(&mut *db.conn().await, "gateway", Duration::ZERO, "no answer").await.unwrap();
    db.execute(&format!(
        "insert into kind_needs (kind, dependency) values ('{kind}', 'gateway');
         insert into jobs (id, kind, queue, max_attempts, payload, hold, partition_key, run_at)
         select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, '{kind}', '{QUEUE}', 3, '{{}}',
             'needs:gateway', {key}, now() - interval '1 day' + n * interval '1 ms'
         from generate_series(1, {jobs}) n;",
        kind = Needy::KIND
    ))
    .await;
    db.execute("vacuum analyze jobs").await;
    (db, worker)
}

/// A job that can try, behind all others.
async fn able(db: &TestDatabase) -> Uuid {
    let id = put(db, &Probe::default()).await;
    db.execute(&format!("update jobs set hold = 'needs:gateway' where id = '{id}'")).await;
    id
}

/// Looks until there is nothing to be done, and nobody to try; how often, and the blocks that the last look touched.
async fn look(conn: &mut AsyncPgConnection) -> (usize, i64) {
    let mut looks = 0;
    loop {
        let (before, since) = (touched(conn).await, Instant::now());
        let gone = let_go(conn).await.unwrap();
        let (blocks, took) = (touched(conn).await - before, since.elapsed());
        looks += 1;
        assert!(gone.queues.is_empty(), "none of these can try");
        if looks == 1 || !gone.more {
            println!("look {looks}: {blocks} blocks, {took:?}");
        }
        if !gone.more {
            return (looks, blocks);
        }
    }
}

const WAITING: &str = "select count(*) as n from jobs where hold = 'needs:gateway'";

async fn chosen(db: &TestDatabase, id: Uuid) -> bool {
    let chosen = format!("select count(*) as n from dependencies where probe_id = '{id}'");
    db.count(&chosen).await == 1
}

#[tokio::test]
async fn a_hundred_thousand_of_a_paused_kind_are_met_once() {
    let (db, _) = outage(100_000, "null").await;
    let mut conn = planned(&db).await;
    control::pause_kind(&mut conn, Needy::KIND, "op", "").await.unwrap();
    let (looks, _) = look(&mut conn).await;
    assert!(looks <= 101, "a thousand at a look: {looks}");
    assert_eq!(db.count(WAITING).await, 0);
    // As seldom is the rest: there is no front any more.
    db.execute("vacuum jobs").await;
    let (looks, blocks) = look(&mut conn).await;
    // To step over each of them would be tens of thousands.
    assert!(looks == 1 && blocks < 1_000, "{looks} looks, {blocks} blocks");

    // One that can is found, whatever was in front of it.
    let able = able(&db).await;
    assert_eq!(let_go(&mut conn).await.unwrap().queues, [QUEUE]);
    assert!(chosen(&db, able).await);
    // The kind goes on, and waits for what it waited for before.
    control::resume_kind(&mut conn, Needy::KIND, "op").await.unwrap();
    assert_eq!(let_go(&mut conn).await.unwrap().queues, [QUEUE]);
    assert_eq!(hold_kinds(&mut conn, QUEUE).await.unwrap(), 2_000);
    assert_eq!(db.count(WAITING).await, 2_000);
}

#[tokio::test]
async fn one_that_can_try_is_found_behind_a_crowd_that_cannot() {
    let (db, _) = outage(2_500, "null").await;
    let mut conn = planned(&db).await;
    control::pause_kind(&mut conn, Needy::KIND, "op", "").await.unwrap();
    let able = able(&db).await;
    let mut looks = 0;
    while let_go(&mut conn).await.unwrap().queues.is_empty() {
        looks += 1;
        assert!(looks <= 3, "it is not found");
    }
    assert!(chosen(&db, able).await);
    // Met, but there is somebody to try: they stay where they are.
    assert_eq!(db.count(WAITING).await, 500);
}

#[tokio::test]
async fn followers_in_front_wait_for_the_one_before_them() {
    let (db, worker) = outage(2_500, "'busy'").await;
    let mut conn = planned(&db).await;
    // The first of the key is not among them: it runs.
    let first: Uuid = "00000000-0000-7000-8000-000000000001".parse().unwrap();
    let runs = format!(
        "update jobs set hold = null, state = 'running', worker_id = '{worker}', claim = 1 where id = '{first}'"
    );
    db.execute(&runs).await;
    let (looks, _) = look(&mut conn).await;
    assert!(looks <= 4, "{looks}");
    assert_eq!(db.count("select count(*) as n from jobs where hold = 'partition'").await, 2_499);
    // It ends, and the next one is let go by that; it waits for the dependency, and is the one to try.
    assert_eq!(complete_done(&mut conn, &[(first, 1)], &[None]).await.unwrap(), [first]);
    assert_eq!(hold_kinds(&mut conn, QUEUE).await.unwrap(), 1);
    assert_eq!(let_go(&mut conn).await.unwrap().queues, [QUEUE]);
    assert!(chosen(&db, "00000000-0000-7000-8000-000000000002".parse().unwrap()).await);
}

#[tokio::test]
async fn a_few_that_cannot_try_stay_where_they_are() {
    let (db, _) = outage(50, "null").await;
    let mut conn = planned(&db).await;
    control::pause_kind(&mut conn, Needy::KIND, "op", "").await.unwrap();
    assert_eq!(look(&mut conn).await.0, 1);
    assert_eq!(db.count(WAITING).await, 50, "cheaper stepped over than moved");
    control::resume_kind(&mut conn, Needy::KIND, "op").await.unwrap();
    assert_eq!(let_go(&mut conn).await.unwrap().queues, [QUEUE]);
}
