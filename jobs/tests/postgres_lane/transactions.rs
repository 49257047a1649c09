//! Handlers whose work and completion are one transaction.

use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use serde_json::json;
use waybill_jobs::{
    Failure, JobContext, JobResult, Outcome,
    postgres::claim,
    testing::{TestDatabase, register, until},
};

use crate::rig::{Probe, QUEUE, Rig, config, outcomes, put, registry, when};

async fn with_table() -> TestDatabase {
    let db = TestDatabase::create().await;
    db.execute("create table effects_of_test (n bigint not null)").await;
    db
}

#[tokio::test]
async fn effect_and_completion_commit_together() {
    let db = with_table().await;
    let id = put(&db, &Probe::default()).await;
    let handler = async |_, context: JobContext| -> JobResult {
        let mut conn = context.pool.get().await?;
        let finished = conn
            .transaction::<_, Transaction, _>(async |conn| {
                conn.batch_execute("insert into effects_of_test values (1)").await?;
                Ok(context.finish(conn, Some(json!("ok"))).await?)
            })
            .await
            .map_err(|error| error.0)?;
        Ok(Outcome::Finished(finished))
    };
    let rig = Rig::start(&db, registry(handler), config());
    let view = when(&db, id, "done").await;
    assert_eq!(view.result, Some(json!("ok")));
    rig.stop().await;
    assert_eq!(db.count("select count(*) as n from effects_of_test").await, 1);
    assert_eq!(outcomes(&view).len(), 0);
}

#[tokio::test]
async fn a_transaction_that_rolls_back_after_finish_leaves_a_failed_attempt_and_no_effect() {
    let db = with_table().await;
    let id = put(&db, &Probe::default()).await;
    let handler = async |_, context: JobContext| -> JobResult {
        let mut conn = context.pool.get().await?;
        let finished = conn
            .transaction::<_, Transaction, _>(async |conn| {
                conn.batch_execute("insert into effects_of_test values (1)").await?;
                let finished = context.finish(conn, None).await?;
                if context.attempt == 1 {
                    return Err(Transaction(Failure::retryable("changed my mind")));
                }
                Ok(finished)
            })
            .await
            .map_err(|error| error.0)?;
        Ok(Outcome::Finished(finished))
    };
    let rig = Rig::start(&db, registry(handler), config());
    let view = when(&db, id, "done").await;
    rig.stop().await;
    assert_eq!((view.attempt, outcomes(&view)), (2, vec!["failed".to_owned()]));
    assert_eq!(db.count("select count(*) as n from effects_of_test").await, 1);
}

#[tokio::test]
async fn neither_guard_nor_finish_nor_progress_serve_a_zombie() {
    let db = with_table().await;
    let id = put(&db, &Probe::default()).await;
    let held = claim(&mut *db.conn().await, QUEUE, register(db.pool()).await, 1).await.unwrap().remove(0);
    let context = JobContext {
        id,
        kind: held.kind,
        attempt: held.attempt,
        max_attempts: held.max_attempts,
        claim: held.claim,
        snoozes: held.snoozes,
        correlation_id: None,
        created_at: held.created_at,
        flow_id: None,
        step: None,
        undo: false,
        scheduled: None,
        logs: waybill_jobs::logs::Logs::default(),
        pool: db.pool().clone(),
        clock: waybill_jobs::Clock::system(),
        cancelled: tokio_util::sync::CancellationToken::new(),
    };
    context.guard(&mut *db.conn().await).await.unwrap();
    context.progress(&mut *db.conn().await, &json!({"rows": 1})).await.unwrap();
    assert_eq!(when(&db, id, "running").await.progress, Some(json!({"rows": 1})));
    // Another worker has taken it over.
    db.execute("update jobs set claim = claim + 1").await;
    context.guard(&mut *db.conn().await).await.unwrap_err();
    context.progress(&mut *db.conn().await, &json!({"rows": 2})).await.unwrap_err();
    context.finish(&*db.conn().await, None).await.unwrap_err();
    assert_eq!(when(&db, id, "running").await.progress, Some(json!({"rows": 1})));
}

#[tokio::test]
async fn a_guard_holds_the_job_until_its_transaction_ends() {
    let db = with_table().await;
    let id = put(&db, &Probe::default()).await;
    let held = claim(&mut *db.conn().await, QUEUE, register(db.pool()).await, 1).await.unwrap().remove(0);
    let mut conn = db.conn().await;
    conn.batch_execute("begin").await.unwrap();
    let shared = diesel_async::RunQueryDsl::execute(
        diesel::sql_query(format!("select from jobs where id = '{id}' and claim = {} for share", held.claim)),
        &mut conn,
    );
    shared.await.unwrap();
    // A takeover has to wait for it.
    let pool = db.pool().clone();
    let takeover = tokio::spawn(async move {
        pool.get().await.unwrap().batch_execute("update jobs set claim = claim + 1").await.unwrap();
    });
    until("the takeover waits for the guard", || async {
        db.count("select count(*) as n from pg_locks where not granted").await == 1
    })
    .await;
    assert!(!takeover.is_finished());
    conn.batch_execute("commit").await.unwrap();
    takeover.await.unwrap();
}

/// `Failure` is no error, so that every error can become one.
struct Transaction(Failure);

impl From<Failure> for Transaction {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<diesel::result::Error> for Transaction {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.into())
    }
}
