//! What is held, where several have their hands on it at once: followers of a key, and the probes of a dependency.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use waybill_jobs::{
    Job, control,
    postgres::{
        claim,
        complete::complete_done,
        holds::{hold_followers, let_go},
    },
    testing::{TestDatabase, register},
};

use crate::rig::{Probe, QUEUE, put, put_many};

fn busy(n: i64) -> Probe {
    Probe { n, key: Some("busy".to_owned()) }
}

async fn take(db: &TestDatabase, worker: Uuid, limit: usize) -> Vec<Uuid> {
    let claimed = claim(&mut *db.conn().await, QUEUE, worker, limit).await.unwrap();
    claimed.into_iter().map(|job| job.id).collect()
}

async fn goes(db: &TestDatabase) -> Vec<String> {
    let_go(&mut *db.conn().await).await.unwrap().queues
}

async fn does(conn: &mut AsyncPgConnection, statements: &str) {
    conn.batch_execute(statements).await.unwrap_or_else(|error| panic!("{statements}: {error}"));
}

const HELD: &str = "select count(*) as n from jobs where hold = 'partition'";
const LOOKS: &str = "select count(*) as n from partition_looks";

/// The first of a crowd runs, and all that follow it are held.
async fn crowd(db: &TestDatabase) -> (Uuid, Vec<Uuid>) {
    let ids = put_many(db, &(0..150).map(busy).collect::<Vec<_>>()).await;
    assert_eq!(hold_followers(&mut *db.conn().await, QUEUE).await.unwrap(), 149);
    let worker = register(db.pool()).await;
    assert_eq!(take(db, worker, 10).await, ids[..1]);
    (worker, ids)
}

#[tokio::test]
async fn a_completion_does_not_wait_for_who_has_the_next_job_locked() {
    let db = TestDatabase::create().await;
    let (worker, ids) = crowd(&db).await;
    let mut other = db.conn().await;
    does(&mut other, &format!("begin; select from jobs where id = '{}' for update", ids[1])).await;
    let mut conn = db.conn().await;
    // Who waits for the lock fails.
    does(&mut conn, "set lock_timeout = '1s'").await;
    assert_eq!(complete_done(&mut conn, &[(ids[0], 1)], &[None]).await.unwrap(), ids[..1]);
    does(&mut conn, "reset lock_timeout").await;
    assert_eq!(db.count(LOOKS).await, 1, "it could not tell");
    assert!(goes(&db).await.is_empty(), "it is still locked");
    assert_eq!(db.count(LOOKS).await, 1, "so it is looked at again");
    does(&mut other, "rollback").await;
    assert_eq!(goes(&db).await, [QUEUE]);
    assert_eq!(db.count(LOOKS).await, 0);
    assert_eq!(take(&db, worker, 10).await, ids[1..2]);
}

/// Both are deleted before either is committed; the next job runs after a look, and nobody has to wait for the sweep.
async fn leave_at_once(db: &TestDatabase, gone: [Uuid; 2], first_commits: usize) {
    let mut conns = [db.conn().await, db.conn().await];
    for (conn, id) in conns.iter_mut().zip(gone) {
        does(conn, &format!("begin; delete from jobs where id = '{id}'")).await;
    }
    does(&mut conns[first_commits], "commit").await;
    assert!(goes(db).await.is_empty(), "the other one is still there");
    does(&mut conns[1 - first_commits], "commit").await;
    assert_eq!(goes(db).await, [QUEUE]);
    assert_eq!(db.count(LOOKS).await, 0);
}

#[tokio::test]
async fn a_follower_that_is_cancelled_while_the_one_in_front_ends_leaves_nobody_behind() {
    for first_commits in [0, 1] {
        let db = TestDatabase::create().await;
        let (worker, ids) = crowd(&db).await;
        // The held one first: the end of the one in front meets it.
        leave_at_once(&db, [ids[1], ids[0]], first_commits).await;
        assert_eq!(take(&db, worker, 10).await, ids[2..3], "{first_commits}");
    }
}

#[tokio::test]
async fn two_at_the_front_that_leave_at_once_leave_nobody_behind() {
    for first_commits in [0, 1] {
        for order in [[0, 1], [1, 0]] {
            let db = TestDatabase::create().await;
            let (worker, ids) = crowd(&db).await;
            // As one that was overtaken: in front, waiting, and not held.
            db.execute(&format!("update jobs set hold = null where id = '{}'", ids[1])).await;
            leave_at_once(&db, order.map(|place| ids[place]), first_commits).await;
            assert_eq!(take(&db, worker, 10).await, ids[2..3], "{first_commits} {order:?}");
        }
    }
}

#[tokio::test]
async fn one_leaving_that_comes_back_leaves_nobody_behind() {
    let db = TestDatabase::create().await;
    let (worker, ids) = crowd(&db).await;
    let mut other = db.conn().await;
    does(&mut other, &format!("begin; delete from jobs where id = '{}'", ids[1])).await;
    complete_done(&mut *db.conn().await, &[(ids[0], 1)], &[None]).await.unwrap();
    does(&mut other, "rollback").await;
    assert_eq!(goes(&db).await, [QUEUE]);
    assert_eq!(take(&db, worker, 10).await, ids[1..2]);
}

#[tokio::test]
async fn jobs_that_leave_one_after_the_other_are_looked_at_by_nobody() {
    let db = TestDatabase::create().await;
    let (worker, ids) = crowd(&db).await;
    for id in &ids[..100] {
        complete_done(&mut *db.conn().await, &[(*id, 1)], &[None]).await.unwrap();
        take(&db, worker, 10).await;
    }
    assert_eq!((db.count(LOOKS).await, db.count(HELD).await), (0, 49));
}

/// Needs what may be away.
#[derive(Debug, Serialize, Deserialize)]
struct Needy {}

impl Job for Needy {
    const KIND: &'static str = "test.needy";
    const QUEUE: &'static str = QUEUE;
    const NEEDS: &'static [&'static str] = &["gateway"];
}

/// A held job of a queue.
async fn needy(db: &TestDatabase, queue: &str) -> Uuid {
    let id = waybill_jobs::enqueue(&*db.conn().await, &Needy {}).await.unwrap();
    db.execute(&format!("update jobs set queue = '{queue}', hold = 'needs:gateway' where id = '{id}'")).await;
    id
}

/// The rest is over: who tries now.
async fn probe(db: &TestDatabase) -> Option<Uuid> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Uuid>)]
        id: Option<Uuid>,
    }
    db.execute("update dependencies set down_until = clock_timestamp()").await;
    goes(db).await;
    let row: Row = diesel_async::RunQueryDsl::get_result(
        diesel::sql_query(
            "select (select j.id from jobs j where j.id = d.probe_id and j.hold is null) as id from dependencies d
             where down_until > clock_timestamp() union all select null limit 1",
        ),
        &mut db.conn().await,
    )
    .await
    .unwrap();
    row.id
}

#[tokio::test]
async fn the_job_that_tries_is_one_that_can_run() {
    let db = TestDatabase::create().await;
    let mut conn = db.conn().await;
    control::dependency_down(&mut conn, "gateway", Duration::from_mins(1), "no answer").await.unwrap();
    let paused = needy(&db, "paused").await;
    let closed = needy(&db, "closed").await;
    let nowhere = needy(&db, "nowhere").await;
    let _unserved = needy(&db, "unserved").await;
    control::pause_queue(&mut conn, "paused", "op", "").await.unwrap();
    let none = control::Limits { max_running: Some(0), ..control::Limits::default() };
    control::set_limits(&mut conn, "closed", &none, "op").await.unwrap();
    control::set_places(&mut conn, "nowhere", None, Some(0), "op").await.unwrap();
    assert_eq!(probe(&db).await, None, "there is no worker");
    let worker = register(db.pool()).await;
    let serves = "update workers set queues = '{paused,closed,nowhere,test,other}' where id";
    db.execute(&format!("{serves} = '{worker}'")).await;
    assert_eq!(probe(&db).await, None, "none of them can run");
    // Behind another of its key, which waits in a queue that nobody serves.
    let first = put(&db, &busy(0)).await;
    db.execute(&format!("update jobs set queue = 'unserved' where id = '{first}'")).await;
    let follower = needy(&db, QUEUE).await;
    db.execute(&format!("update jobs set partition_key = 'busy' where id = '{follower}'")).await;
    assert_eq!(probe(&db).await, None);
    let able = needy(&db, QUEUE).await;
    assert_eq!(probe(&db).await, Some(able));
    assert_eq!(take(&db, worker, 5).await, [able]);
    // It ended without a word about the dependency. What can run meanwhile has its turn.
    db.execute(&format!("delete from jobs where id = '{able}'")).await;
    control::resume_queue(&mut conn, "paused", "op").await.unwrap();
    assert_eq!(probe(&db).await, Some(paused));
    control::set_limits(&mut conn, "closed", &control::Limits::default(), "op").await.unwrap();
    assert_eq!(probe(&db).await, Some(closed));
    control::set_places(&mut conn, "nowhere", Some(worker), Some(1), "op").await.unwrap();
    assert_eq!(probe(&db).await, Some(nowhere));
    control::pause_kind(&mut conn, Needy::KIND, "op", "").await.unwrap();
    needy(&db, QUEUE).await;
    assert_eq!(probe(&db).await, None, "the kind is paused");
}

/// A queue may be full for an hour. The first job of it that is to try does not, and must not be chosen again and again.
#[tokio::test]
async fn one_that_does_not_try_gives_way_to_another_queue() {
    let db = TestDatabase::create().await;
    control::dependency_down(&mut *db.conn().await, "gateway", Duration::from_mins(1), "").await.unwrap();
    let worker = register(db.pool()).await;
    db.execute(&format!("update workers set queues = '{{test,other}}' where id = '{worker}'")).await;
    let full = [needy(&db, QUEUE).await, needy(&db, QUEUE).await, needy(&db, QUEUE).await];
    let elsewhere = needy(&db, "other").await;
    assert_eq!(probe(&db).await, Some(full[0]));
    assert_eq!(probe(&db).await, Some(elsewhere), "nobody claimed it");
    // That one was claimed and has not answered.
    db.execute(&format!("delete from jobs where id = '{elsewhere}'")).await;
    assert_eq!(probe(&db).await, Some(full[1]));
    // As the worker does with what is no probe any more: it does not come before those that have not tried, unless alone.
    db.execute(&format!("update jobs set hold = 'needs:gateway' where id = '{}'", full[0])).await;
    let other = needy(&db, "other").await;
    assert_eq!(probe(&db).await, Some(other));
}

#[tokio::test]
async fn the_job_that_is_to_try_is_not_waited_for_while_somebody_has_it_locked() {
    let db = TestDatabase::create().await;
    let mut conn = db.conn().await;
    control::dependency_down(&mut conn, "gateway", Duration::ZERO, "no answer").await.unwrap();
    let worker = register(db.pool()).await;
    db.execute(&format!("update workers set queues = '{{test}}' where id = '{worker}'")).await;
    let job = needy(&db, QUEUE).await;
    let mut other = db.conn().await;
    does(&mut other, &format!("begin; select from jobs where id = '{job}' for update")).await;
    // Who waits for the lock fails.
    does(&mut conn, "set lock_timeout = '1s'").await;
    assert!(let_go(&mut conn).await.unwrap().queues.is_empty());
    does(&mut conn, "reset lock_timeout").await;
    let tries = format!("select count(*) as n from dependencies where probe_id = '{job}'");
    assert_eq!(db.count(&tries).await, 0, "its five seconds have not begun");
    does(&mut other, "commit").await;
    assert_eq!(goes(&db).await, [QUEUE]);
    assert_eq!(db.count(&tries).await, 1);
}
