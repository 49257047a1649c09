use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use waybill_jobs::{
    Enqueue, Failure, JobContext, Outcome,
    postgres::{claim, complete::complete_done},
    testing::{TestDatabase, register, until},
};
use waybill_schema::new_id;

use crate::rig::{Probe, QUEUE, Rig, config, put, put_many, put_with, registry};

fn keyed(key: &str, n: i64) -> Probe {
    Probe { n, key: Some(key.to_owned()) }
}

#[derive(Default)]
struct Watch {
    running: HashMap<String, i64>,
    ended: HashMap<String, Vec<i64>>,
    overlaps: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_key_run_one_at_a_time_and_in_order_on_two_workers() {
    let db = TestDatabase::create().await;
    let (keys, jobs) = (8, 15);
    let probes: Vec<_> =
        (0..jobs).flat_map(|n| (0..keys).map(move |key| keyed(&format!("key-{key}"), n))).collect();
    put_many(&db, &probes).await;
    let watch = Arc::new(Mutex::new(Watch::default()));
    let rigs: Vec<_> = (0..2)
        .map(|_| {
            let watch = Arc::clone(&watch);
            let handler = move |job: Probe, context: JobContext| {
                let watch = Arc::clone(&watch);
                async move {
                    let key = job.key.unwrap();
                    {
                        let mut watch = watch.lock().unwrap();
                        if watch.running.insert(key.clone(), job.n).is_some() {
                            watch.overlaps += 1;
                        }
                    }
                    tokio::task::yield_now().await;
                    let mut watch = watch.lock().unwrap();
                    watch.running.remove(&key);
                    // Every third one fails once, and those behind it have to wait for its retry.
                    if job.n % 3 == 0 && context.attempt == 1 {
                        return Err(Failure::retryable("once"));
                    }
                    watch.ended.entry(key).or_default().push(job.n);
                    Ok(Outcome::done())
                }
            };
            Rig::start(&db, registry(handler), config())
        })
        .collect();
    until("all have run", || async { db.count("select count(*) as n from jobs").await == 0 }).await;
    for rig in rigs {
        rig.stop().await;
    }
    {
        let watch = watch.lock().unwrap();
        assert_eq!(watch.overlaps, 0);
        for (key, order) in &watch.ended {
            assert_eq!(*order, (0..jobs).collect::<Vec<_>>(), "{key}");
        }
        assert_eq!(watch.ended.len(), keys);
    }
    assert_eq!(db.count("select count(*) as n from job_history where state = 'done'").await, 120);
}

#[tokio::test]
async fn a_job_that_commits_late_waits_for_the_one_that_overtook_it() {
    let db = TestDatabase::create().await;
    let early = new_id();
    let overtaking = put(&db, &keyed("k", 2)).await;
    let worker = register(db.pool()).await;
    let running = claim(&mut *db.conn().await, QUEUE, worker, 5).await.unwrap();
    assert_eq!(running[0].id, overtaking);
    put_with(&db, &keyed("k", 1), Enqueue { id: Some(early), ..Enqueue::default() }).await;
    assert!(claim(&mut *db.conn().await, QUEUE, worker, 5).await.unwrap().is_empty());
    complete_done(&mut *db.conn().await, &[(overtaking, running[0].claim)], &[None]).await.unwrap();
    assert_eq!(claim(&mut *db.conn().await, QUEUE, worker, 5).await.unwrap()[0].id, early);
}

#[tokio::test]
async fn a_key_blocks_its_own_jobs_only() {
    let db = TestDatabase::create().await;
    for probe in [keyed("a", 1), keyed("a", 2), keyed("b", 1), Probe::default()] {
        put(&db, &probe).await;
    }
    let claimed = claim(&mut *db.conn().await, QUEUE, register(db.pool()).await, 10).await.unwrap();
    let keys: Vec<_> = claimed.iter().map(|job| job.partition_key.as_deref()).collect();
    assert_eq!(keys, [Some("a"), Some("b"), None]);
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_running_job_of_a_key() {
    let db = TestDatabase::create().await;
    for n in [1, 2] {
        put(&db, &keyed("a", n)).await;
    }
    let both = "update jobs set state = 'running', worker_id = gen_random_uuid()";
    let refused = diesel_async::SimpleAsyncConnection::batch_execute(&mut *db.conn().await, both).await;
    assert!(refused.unwrap_err().to_string().contains("jobs_one_running_per_key"));
}
