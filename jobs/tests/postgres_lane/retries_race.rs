//! Retries in bulk beside the completion of what has the slots.

use diesel_async::AsyncConnection;
use rand::seq::SliceRandom;
use uuid::Uuid;
use waybill_jobs::{
    Enqueue, Unique,
    postgres::{Entry, bury, claim, complete::complete_done},
    testing::{TestDatabase, register},
    try_enqueue_all,
};
use waybill_schema::{
    Conn, new_id,
    system::rework::{repeat, revive},
};

use crate::rig::{Probe, QUEUE};

const SLOTS: usize = 300;
const ROUNDS: usize = 6;

/// A running job for each slot, in no order.
async fn holders(db: &TestDatabase, worker: Uuid) -> Vec<(Uuid, i64)> {
    let probe = Probe::default();
    let jobs = (0..SLOTS).map(|slot| {
        let unique = Some(Unique::while_live(slot.to_string()));
        (&probe, Enqueue { unique, ..Enqueue::default() })
    });
    let enqueued = try_enqueue_all(&*db.conn().await, jobs).await.unwrap();
    assert!(enqueued.iter().all(|job| job.is_new()));
    let claimed = claim(&mut *db.conn().await, QUEUE, worker, SLOTS).await.unwrap();
    let mut claims: Vec<_> = claimed.iter().map(|job| (job.id, job.claim)).collect();
    claims.shuffle(&mut rand::rng());
    claims
}

async fn retry(conn: &mut Conn, dead: &[Uuid], over: &[Uuid]) -> diesel::QueryResult<usize> {
    conn.transaction(async |conn| {
        let fresh: Vec<Uuid> = over.iter().map(|_| new_id()).collect();
        Ok(revive(conn, dead, false).await?.len() + repeat(conn, over, &fresh, false).await?.len())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completions_of_many_and_retries_of_many_end_without_a_deadlock() {
    let db = TestDatabase::create().await;
    let worker = register(db.pool()).await;
    for round in 0..ROUNDS {
        db.execute(
            "delete from jobs; delete from job_uniques; delete from dead_letters; delete from job_history",
        )
        .await;
        let died = holders(&db, worker).await;
        let letters: Vec<_> =
            died.iter().map(|(id, claim)| (*id, *claim, Entry::new("failed", "no"), "no")).collect();
        bury(&mut *db.conn().await, &letters).await.unwrap();
        let ended = holders(&db, worker).await;
        let results = vec![None; SLOTS];
        complete_done(&mut *db.conn().await, &ended, &results).await.unwrap();

        let running = holders(&db, worker).await;
        let (dead, over): (Vec<Uuid>, Vec<Uuid>) =
            died.iter().zip(&ended).map(|((dead, _), (over, _))| (*dead, *over)).unzip();
        let [mut completing, mut first, mut second] = [db.conn().await, db.conn().await, db.conn().await];
        let (done, one, other) = tokio::join!(
            complete_done(&mut completing, &running, &results),
            retry(&mut first, &dead, &over),
            retry(&mut second, &dead[..SLOTS / 2], &over[SLOTS / 2..]),
        );
        assert_eq!(done.unwrap().len(), SLOTS, "round {round}");
        let retried = one.unwrap() + other.unwrap();
        // Who came while the slots were taken is left alone; nobody has a slot beside another.
        assert!(retried <= SLOTS, "{retried}");
        let live = db.count("select count(*) as n from jobs").await;
        let owned =
            "select count(*) as n from job_uniques u join jobs j on j.id = u.job_id and j.unique_key = u.key";
        assert_eq!((live, db.count(owned).await), (i64::try_from(retried).unwrap(), live));
        assert_eq!(db.count("select count(*) as n from job_uniques").await, live, "none is left behind");
    }
}
