//! Large files where nobody runs parts.
#![allow(clippy::unwrap_used, clippy::panic)]

use waybill_jobs::{flows, queues, testing};
use waybill_schema::imports::{ImportKind, ImportStatus};

use super::{
    Setup, counts,
    parts::{catalogue, cutting, run_all},
};

#[tokio::test]
async fn a_file_is_cut_only_while_somebody_runs_parts() {
    let whole = Setup::new(500).await;
    let expected = whole.import(ImportKind::Products, catalogue(40)).await;
    for nobody in [
        "delete from workers",
        "update workers set lease_until = now() - interval '1 second'",
        "update workers set state = 'draining'",
        "update workers set queues = '{imports}'",
    ] {
        let (setup, registry) = cutting().await;
        setup.db.execute(nobody).await;
        let import = setup.upload(ImportKind::Products, catalogue(40).as_bytes()).await;
        let import = run_all(&setup, &registry, &import).await;
        assert_eq!(import.status, ImportStatus::Completed, "{nobody}: {import:?}");
        assert_eq!(counts(&import), counts(&expected), "{nobody}");
        assert_eq!(setup.db.text("select count(*) from flows").await, "0", "{nobody}");
    }
}

#[tokio::test]
async fn an_import_whose_parts_wait_for_nobody_says_so_and_goes_on_when_somebody_comes() {
    let (setup, registry) = cutting().await;
    let import = setup.upload(ImportKind::Products, catalogue(40).as_bytes()).await;
    let pool = setup.db.pool();
    testing::run_one(pool, &registry, import.job_id).await;
    testing::drain(pool, &registry, queues::IMPORTS).await;
    flows::sweep(&mut *setup.db.conn().await).await.unwrap();
    let last = format!("select failures -> -1 ->> 'error' from jobs where id = '{}'", import.job_id);
    testing::run_one(pool, &registry, import.job_id).await;
    assert_eq!(setup.db.text(&last).await, "its parts run");
    setup.db.execute("delete from workers").await;
    testing::run_one(pool, &registry, import.job_id).await;
    assert_eq!(setup.db.text(&last).await, "its parts wait: no worker serves import_parts");
    // The stretches that are left are read by the job itself.
    let import = run_all(&setup, &registry, &import).await;
    assert_eq!(import.status, ImportStatus::Completed, "{import:?}");
    assert_eq!(setup.db.text("select count(*) from flows").await, "1");
}
