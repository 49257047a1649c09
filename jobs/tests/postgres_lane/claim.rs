use std::collections::HashSet;

use chrono::{TimeDelta, Utc};
use waybill_jobs::{
    Enqueue,
    postgres::claim,
    testing::{TestDatabase, register},
};

use crate::rig::{Probe, QUEUE, put_many, put_with, view};

#[tokio::test]
async fn a_claim_takes_the_first_by_priority_then_time_and_no_more_than_asked() {
    let db = TestDatabase::create().await;
    let at = |seconds| Some(Utc::now() - TimeDelta::seconds(seconds));
    let mut ids = Vec::new();
    for (priority, run_at) in [(5, at(90)), (0, at(10)), (0, at(50)), (-1, at(1))] {
        let options = Enqueue { priority, run_at, ..Enqueue::default() };
        ids.push(put_with(&db, &Probe::default(), options).await);
    }
    let worker = register(db.pool()).await;
    let first = claim(&mut *db.conn().await, QUEUE, worker, 3).await.unwrap();
    assert_eq!(first.iter().map(|job| job.id).collect::<Vec<_>>(), [ids[3], ids[2], ids[1]]);
    assert!(first.iter().all(|job| job.attempt == 1 && job.claim == 1));
    assert_eq!(view(&db, ids[3]).await.worker_id, Some(worker));
    let rest = claim(&mut *db.conn().await, QUEUE, worker, 3).await.unwrap();
    assert_eq!(rest.iter().map(|job| job.id).collect::<Vec<_>>(), [ids[0]]);
    assert!(claim(&mut *db.conn().await, QUEUE, worker, 3).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_claim_leaves_other_queues_and_later_jobs_alone() {
    let db = TestDatabase::create().await;
    let later = Enqueue { run_at: Some(Utc::now() + TimeDelta::hours(1)), ..Enqueue::default() };
    let id = put_with(&db, &Probe::default(), later).await;
    assert!(claim(&mut *db.conn().await, QUEUE, register(db.pool()).await, 10).await.unwrap().is_empty());
    assert_eq!(view(&db, id).await.state, "scheduled");
    put_with(&db, &Probe::default(), Enqueue::default()).await;
    assert!(claim(&mut *db.conn().await, "another", register(db.pool()).await, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claimers_at_once_share_the_jobs_out_and_none_gets_one_twice() {
    let db = TestDatabase::create().await;
    put_many(&db, &vec![Probe::default(); 2_000]).await;
    let claimers: Vec<_> = (0..4)
        .map(|_| {
            let pool = db.pool().clone();
            tokio::spawn(async move {
                let (worker, mut ids) = (register(&pool).await, Vec::new());
                loop {
                    let jobs = claim(&mut pool.get().await.unwrap(), QUEUE, worker, 37).await.unwrap();
                    if jobs.is_empty() {
                        return ids;
                    }
                    ids.extend(jobs.into_iter().map(|job| job.id));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap());
    }
    assert_eq!(all.len(), 2_000);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 2_000);
}

#[tokio::test]
async fn a_worker_without_a_row_gets_nothing() {
    let db = TestDatabase::create().await;
    put_many(&db, &[Probe::default()]).await;
    let nobody = waybill_schema::new_id();
    assert!(claim(&mut *db.conn().await, QUEUE, nobody, 1).await.unwrap().is_empty());
}
