//! Imports whose job somebody ends.
#![allow(clippy::unwrap_used, clippy::panic)]

use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use waybill_jobs::{
    Registry, flows,
    postgres::{Entry, bury},
    queues, status, testing,
};
use waybill_schema::{
    imports::{ImportKind, ImportRow, ImportStatus, run},
    sql,
    system::rework,
};

use super::{
    Setup,
    parts::{catalogue, cutting, files, run_all},
};

/// An import of which one part is through and the others wait.
async fn half_way(setup: &Setup, registry: &Registry) -> ImportRow {
    let import = setup.upload(ImportKind::Products, catalogue(60).as_bytes()).await;
    let pool = setup.db.pool();
    testing::run_one(pool, registry, import.job_id).await;
    testing::drain(pool, registry, queues::IMPORTS).await;
    flows::sweep(&mut *setup.db.conn().await).await.unwrap();
    let part = setup.db.text("select id from jobs where kind = 'import.part' order by id limit 1").await;
    testing::run_one(pool, registry, part.parse().unwrap()).await;
    import
}

#[tokio::test]
async fn an_import_whose_job_is_ended_ends_with_its_parts_and_says_why() {
    for (deleted, says) in [(false, "its job was discarded"), (true, "its job is gone")] {
        let (setup, registry) = cutting().await;
        let import = half_way(&setup, &registry).await;
        let mut conn = setup.db.conn().await;
        if deleted {
            waybill_jobs::testing::TestDatabase::execute(
                &setup.db,
                &format!("delete from jobs where id = '{}'", import.job_id),
            )
            .await;
        } else {
            assert_eq!(rework::discard(&mut conn, &[import.job_id], "somebody").await.unwrap().len(), 1);
        }
        flows::sweep(&mut conn).await.unwrap();
        let rest = "select string_agg(kind, ' ') from jobs";
        assert_eq!(setup.db.text(rest).await, "import.clean", "its parts end, {says}");
        let ended = run_all(&setup, &registry, &import).await;
        assert_eq!(ended.status, ImportStatus::Failed);
        assert!(ended.error.as_ref().unwrap().contains(says), "{ended:?}");
        assert!(ended.finished_at.is_some());
        assert_eq!(setup.db.text("select state from flows").await, "cancelled");
        assert_eq!(setup.db.text("select count(*) from jobs").await, "0");
        assert_eq!(files(&setup), 1);
        let variants: i64 = setup.db.text("select count(*) from variants").await.parse().unwrap();
        assert!(ended.rows_done > 0, "{ended:?}");
        assert_eq!(ended.rows_created, variants, "what is in is counted");
    }
}

#[tokio::test]
async fn an_import_that_is_done_is_not_ended_with_its_job() {
    let (setup, registry) = cutting().await;
    let import = setup.upload(ImportKind::Products, catalogue(10).as_bytes()).await;
    let pool = setup.db.pool();
    testing::run_one(pool, &registry, import.job_id).await;
    // Nobody looks after the workflow between the merge and the end of the import's job.
    loop {
        flows::sweep(&mut *setup.db.conn().await).await.unwrap();
        let ran = [
            testing::drain(pool, &registry, queues::IMPORTS).await,
            testing::drain(pool, &registry, queues::IMPORT_PARTS).await,
        ]
        .concat();
        if ran.is_empty() || ran.iter().any(|ran| ran.kind == "import.merge") {
            break;
        }
    }
    assert_eq!(setup.find(import.id).await.status, ImportStatus::Completed);
    assert_eq!(setup.db.text("select state from flows").await, "running");
    run_all(&setup, &registry, &import).await;
    assert_eq!(setup.db.text("select state from flows").await, "done");
}

#[tokio::test]
async fn discarding_a_dead_import_ends_what_waits_for_its_dead_part() {
    let (setup, registry) = cutting().await;
    let import = setup.upload(ImportKind::Products, catalogue(60).as_bytes()).await;
    let pool = setup.db.pool();
    testing::run_one(pool, &registry, import.job_id).await;
    testing::drain(pool, &registry, queues::IMPORTS).await;
    flows::sweep(&mut *setup.db.conn().await).await.unwrap();
    waybill_jobs::testing::TestDatabase::execute(&setup.db, "update import_parts set prefix = 'elsewhere/' || prefix where part = 1; update jobs set max_attempts = 1 where kind = 'import.part'").await;
    testing::drain_all(pool, &registry).await;
    testing::advance_to(pool, chrono::Utc::now() + chrono::Duration::minutes(1)).await;
    testing::drain_all(pool, &registry).await;
    assert_eq!(setup.db.text("select count(*) from dead_letters").await, "2");
    assert_eq!(setup.db.text("select state from flows").await, "running", "its part may be retried");
    assert!(files(&setup) > 1);

    rework::discard(&mut *setup.db.conn().await, &[import.job_id], "somebody").await.unwrap();
    let ended = run_all(&setup, &registry, &import).await;
    assert_eq!((ended.status, ended.error.as_deref()), (ImportStatus::Failed, Some(run::FAILED)));
    assert_eq!(setup.db.text("select state from flows").await, "cancelled");
    assert_eq!(files(&setup), 1);
    let part = setup.db.text("select id from dead_letters where kind = 'import.part'").await.parse().unwrap();
    assert!(!status::retry_dead(&mut *setup.db.conn().await, part).await.unwrap(), "its files are gone");
}

#[tokio::test]
async fn an_import_whose_job_died_with_its_worker_is_closed_and_a_retry_opens_it() {
    let setup = Setup::new(500).await;
    let import = setup.upload(ImportKind::Products, b"sku,name,price\nA,Cup,1\n").await;
    let context = setup.db.claim(import.job_id).await;
    let mut conn = setup.db.conn().await;
    run::start(&mut conn, import.id, import.job_id).await.unwrap();
    let close = async || {
        let mut conn = setup.db.conn().await;
        sql(run::CLOSE).bind::<BigInt, _>(10).execute(&mut conn).await.unwrap()
    };
    assert_eq!(close().await, 0, "it runs");
    let lost = Entry::new("worker_lost", "the worker ended without an answer");
    bury(&mut conn, &[(import.job_id, context.claim, lost, "the last attempt lost its worker")])
        .await
        .unwrap();
    assert_eq!((close().await, close().await), (1, 0));
    let closed = setup.find(import.id).await;
    assert_eq!((closed.status, closed.error.as_deref()), (ImportStatus::Failed, Some(run::FAILED)));
    assert!(status::retry_dead(&mut conn, import.job_id).await.unwrap());
    let context = setup.db.claim(import.job_id).await;
    setup.attempt(&import, context).await.unwrap();
    let done = setup.find(import.id).await;
    assert_eq!((done.status, done.error, done.rows_created), (ImportStatus::Completed, None, 1));
}
