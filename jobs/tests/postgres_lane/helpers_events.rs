//! The helpers for the tests of others: events, and what is left.

use std::sync::Arc;

use async_trait::async_trait;
use waybill_jobs::{
    Event as _, EventEnvelope, Failure, Pipeline, PipelineError, emit, enqueue,
    events::{ProductUpdated, StockDepleted},
    testing::{
        TestDatabase, assert_emitted, assert_enqueued, assert_no_leftovers, drain_events, emitted, envelope,
        leftovers, refute_emitted, run_pipeline,
    },
};
use waybill_schema::{Conn, new_id};

use crate::rig::{Probe, put};

/// Enqueues a probe for each product, with its version.
struct Counts;

#[async_trait]
impl Pipeline for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[ProductUpdated::TOPIC]
    }

    fn max_batch(&self) -> usize {
        2
    }

    async fn apply(&self, batch: &[EventEnvelope], conn: &mut Conn) -> Result<(), PipelineError> {
        for event in batch {
            let Some(product) = event.read::<ProductUpdated>().transpose()? else { continue };
            if product.version == 0 {
                return Err(Failure::retryable("no version"));
            }
            enqueue(conn, &Probe { n: product.version, key: None }).await?;
            if product.version == 3 {
                // Reacts to itself, once.
                emit(conn, &ProductUpdated { version: 4, ..product }, None).await?;
            }
        }
        Ok(())
    }
}

async fn updated(db: &TestDatabase, versions: &[i64]) {
    let product_id = new_id();
    for version in versions {
        emit(&*db.conn().await, &ProductUpdated { product_id, version: *version }, None).await.unwrap();
    }
}

#[tokio::test]
async fn events_are_handled_in_order_with_what_they_cause_and_each_once() {
    let db = TestDatabase::create().await;
    updated(&db, &[1, 2, 3]).await;
    assert_emitted::<ProductUpdated>(db.pool(), |event| event.version == 3).await;
    refute_emitted::<ProductUpdated>(db.pool(), |event| event.version == 4).await;
    assert_eq!(leftovers(db.pool()).await, [("event product.updated".to_owned(), "unsent".to_owned(), 3)]);

    let pipelines: [Arc<dyn Pipeline>; 1] = [Arc::new(Counts)];
    let handled = drain_events(db.pool(), &pipelines).await;
    let versions: Vec<_> = handled
        .iter()
        .map(|handled| handled.event.read::<ProductUpdated>().unwrap().unwrap().version)
        .collect();
    assert_eq!(versions, [1, 2, 3, 4]);
    assert_emitted::<ProductUpdated>(db.pool(), |event| event.version == 4).await;
    assert!(emitted::<StockDepleted>(db.pool()).await.is_empty());
    assert_enqueued::<Probe>(db.pool(), |probe| probe.n == 4).await;
    assert!(drain_events(db.pool(), &pipelines).await.is_empty());
    assert_eq!(leftovers(db.pool()).await, [("test.probe".to_owned(), "queued".to_owned(), 4)]);
}

#[tokio::test]
#[should_panic(expected = "counts cannot handle product.updated: no version")]
async fn an_event_that_cannot_be_handled_fails_the_test() {
    let db = TestDatabase::create().await;
    updated(&db, &[0]).await;
    drain_events(db.pool(), &[Arc::new(Counts) as Arc<dyn Pipeline>]).await;
}

#[tokio::test]
async fn a_pipeline_runs_inline() {
    let db = TestDatabase::create().await;
    let event = |version| envelope(&ProductUpdated { product_id: new_id(), version });
    run_pipeline(db.pool(), &Counts, &[event(1), event(2)]).await.unwrap();
    assert_enqueued::<Probe>(db.pool(), |probe| probe.n == 2).await;
    let failed = run_pipeline(db.pool(), &Counts, &[event(5), event(0)]).await.unwrap_err();
    assert_eq!(failed.message, "no version");
    assert_eq!(db.count("select count(*) as n from jobs").await, 2, "it was one transaction");
}

#[tokio::test]
async fn whoever_leaves_nothing_passes() {
    let db = TestDatabase::create().await;
    let _nothing_left = db.nothing_left();
    assert_no_leftovers(db.pool()).await;
}

#[tokio::test]
#[should_panic(expected = "jobs are left: [(\"test.probe\", \"queued\", 1)]")]
async fn whoever_leaves_a_job_fails_at_the_end() {
    let db = TestDatabase::create().await;
    let _nothing_left = db.nothing_left();
    put(&db, &Probe::default()).await;
}

#[tokio::test]
#[should_panic(expected = "the test's own failure")]
async fn whoever_fails_anyway_is_not_asked() {
    let db = TestDatabase::create().await;
    let _nothing_left = db.nothing_left();
    put(&db, &Probe::default()).await;
    panic!("the test's own failure");
}
