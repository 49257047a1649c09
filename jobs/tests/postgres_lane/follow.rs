//! What a job's owner sees of it while it runs.

use serde_json::json;
use waybill_jobs::{
    Enqueue, JobContext, JobResult, Level, Outcome,
    logs::{self, MAX_CHARS, MAX_LINES},
    status::follow,
    testing::{TestDatabase, until, until_some},
};
use waybill_schema::new_id;

use crate::rig::{Probe, Rig, config, put, put_with, registry, when};

#[tokio::test]
async fn progress_and_lines_are_seen_while_the_job_runs_and_by_its_owner_only() {
    let db = TestDatabase::create().await;
    let owner = new_id();
    let id = put_with(&db, &Probe::default(), Enqueue { owner_id: Some(owner), ..Enqueue::default() }).await;
    let handler = async |_: Probe, context: JobContext| -> JobResult {
        context.log(Level::Info, "half way");
        context.progress(&mut *context.pool.get().await?, &json!({ "half": true })).await?;
        context.cancelled.cancelled().await;
        context.log(Level::Warn, "stopped\0early");
        Ok(Outcome::Done(Some(json!(1))))
    };
    let rig = Rig::start(&db, registry(handler), config());
    let seen = until_some("the first line", || async {
        let seen = follow(&mut *db.conn().await, id, Some(owner), 0).await.ok()??;
        (!seen.lines.is_empty() && seen.progress.is_some()).then_some(seen)
    })
    .await;
    assert_eq!((seen.state.as_str(), seen.over), ("running", false));
    assert_eq!((seen.lines[0].line.as_str(), seen.lines[0].level.as_str()), ("half way", "info"));
    assert!(follow(&mut *db.conn().await, id, Some(new_id()), 0).await.unwrap().is_none());

    waybill_jobs::cancel(&mut *db.conn().await, id, "test", "enough").await.unwrap();
    when(&db, id, "done").await;
    // Its lines were written before its outcome.
    let rest = follow(&mut *db.conn().await, id, Some(owner), seen.lines[0].seq).await.unwrap().unwrap();
    assert!(rest.over);
    assert_eq!(rest.result, Some(json!(1)));
    assert_eq!(
        rest.lines.iter().map(|line| line.line.as_str()).collect::<Vec<_>>(),
        ["stopped\u{fffd}early"]
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_job_that_never_stops_talking_keeps_its_first_lines() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let handler = async |_: Probe, context: JobContext| -> JobResult {
        for n in 0..MAX_LINES {
            context.log(Level::Debug, format!("{} {n} {}", context.attempt, "é".repeat(MAX_CHARS)));
        }
        if context.attempt == 1 {
            return Err(waybill_jobs::Failure::retryable("once more"));
        }
        Ok(Outcome::done())
    };
    let rig = Rig::start(&db, registry(handler), config());
    when(&db, id, "done").await;
    rig.stop().await;
    let lines = logs::lines(&mut *db.conn().await, id, 0, i64::MAX).await.unwrap();
    assert_eq!(i64::try_from(lines.len()).unwrap(), MAX_LINES);
    assert!(lines.iter().enumerate().all(|(n, line)| line.line.starts_with(&format!("1 {n} "))));
    assert!(lines.iter().all(|line| line.line.chars().count() == MAX_CHARS));
}

#[tokio::test]
async fn the_lines_of_a_handler_that_panics_are_kept() {
    let db = TestDatabase::create().await;
    let id = put(&db, &Probe::default()).await;
    let handler = async |_: Probe, context: JobContext| -> JobResult {
        context.log(Level::Error, format!("attempt {}", context.attempt));
        panic!("at once")
    };
    let rig = Rig::start(&db, registry(handler), config());
    when(&db, id, "dead").await;
    until("all lines are there", || async {
        logs::lines(&mut *db.conn().await, id, 0, 10).await.unwrap().len() == 3
    })
    .await;
    rig.stop().await;
}
