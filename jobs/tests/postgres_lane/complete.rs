use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{
    postgres::{
        Claimed, Completion, Entry, PutBack, Tid, bury, claim, complete,
        complete::{End, complete_done},
        put_back,
    },
    testing::{TestDatabase, register},
};

use crate::rig::{Probe, QUEUE, outcomes, put, view};

async fn claimed(db: &TestDatabase) -> Claimed {
    put(db, &Probe::default()).await;
    claim(&mut *db.conn().await, QUEUE, register(db.pool()).await, 1).await.unwrap().remove(0)
}

fn back(id: Uuid, claim: i64, delay: Duration) -> PutBack {
    PutBack { id, claim, delay, refund: false, snooze: false, entry: Some(Entry::new("failed", "no luck")) }
}

#[tokio::test]
async fn only_the_present_claim_ends_a_job() {
    let db = TestDatabase::create().await;
    let first = claimed(&db).await;
    let (id, old) = (first.id, first.claim);
    let mut conn = db.conn().await;
    // Taken over, and claimed by another worker.
    assert_eq!(put_back(&mut conn, &[back(id, old, Duration::ZERO)]).await.unwrap(), [id]);
    let second = claim(&mut conn, QUEUE, register(db.pool()).await, 1).await.unwrap().remove(0);
    assert_eq!((second.id, second.claim, second.attempt), (id, 2, 2));

    let entry = Entry::new("failed", "late");
    assert!(complete_done(&mut conn, &[(id, old)], &[None]).await.unwrap().is_empty());
    let close = Completion { id, claim: old, place: Tid::UNKNOWN, end: End::Cancelled(entry.clone()) };
    assert!(complete(&mut conn, &[close]).await.unwrap().is_empty());
    assert!(put_back(&mut conn, &[back(id, old, Duration::ZERO)]).await.unwrap().is_empty());
    assert!(bury(&mut conn, &[(id, old, entry, "late")]).await.unwrap().is_empty());
    assert_eq!(view(&db, id).await.state, "running");

    let done =
        Completion { id, claim: second.claim, place: second.place, end: End::Done(Some(json!({"n": 1}))) };
    assert_eq!(complete(&mut conn, std::slice::from_ref(&done)).await.unwrap(), [id]);
    assert!(complete(&mut conn, &[done]).await.unwrap().is_empty(), "a job ends once");
    let view = view(&db, id).await;
    assert_eq!((view.state.as_str(), view.result.clone()), ("done", Some(json!({"n": 1}))));
}

#[tokio::test]
async fn a_batch_ends_the_jobs_that_are_held_and_tells_which() {
    let db = TestDatabase::create().await;
    let (a, b, c) = (claimed(&db).await, claimed(&db).await, claimed(&db).await);
    let batch = [
        Completion { id: a.id, claim: a.claim, place: a.place, end: End::Done(None) },
        Completion { id: b.id, claim: b.claim + 1, place: b.place, end: End::Done(None) },
        Completion {
            id: c.id,
            claim: c.claim,
            place: c.place,
            end: End::Discarded(Entry::new("discarded", "no use")),
        },
    ];
    let mut held = complete(&mut *db.conn().await, &batch).await.unwrap();
    held.sort();
    let mut expected = vec![a.id, c.id];
    expected.sort();
    assert_eq!(held, expected);
    assert_eq!(view(&db, b.id).await.state, "running");
    let discarded = view(&db, c.id).await;
    assert_eq!((discarded.state.as_str(), discarded.reason.as_deref()), ("discarded", Some("no use")));
    assert_eq!(outcomes(&discarded), ["discarded"]);
}

#[tokio::test]
async fn an_entry_is_bounded_and_says_who_when_and_why() {
    let db = TestDatabase::create().await;
    let job = claimed(&db).await;
    let long = format!("a\0b{}", "ü".repeat(5_000));
    let mut put = back(job.id, job.claim, Duration::from_mins(1));
    put.entry = Some(Entry::new("failed", long));
    put_back(&mut *db.conn().await, &[put]).await.unwrap();
    let view = view(&db, job.id).await;
    let entry = &view.failures[0];
    let error = entry["error"].as_str().unwrap();
    assert_eq!(error.chars().count(), 2_000);
    assert!(error.starts_with("a\u{fffd}b"));
    assert_eq!(entry["attempt"], 1);
    assert_eq!(entry["outcome"], "failed");
    for time in ["started_at", "finished_at"] {
        chrono::DateTime::parse_from_rfc3339(entry[time].as_str().unwrap()).unwrap();
    }
    Uuid::parse_str(entry["worker_id"].as_str().unwrap()).unwrap();
}

#[tokio::test]
async fn a_job_keeps_its_last_fifty_entries() {
    let db = TestDatabase::create().await;
    let mut job = claimed(&db).await;
    let mut conn = db.conn().await;
    for round in 0..60 {
        let entry = Some(Entry::new("snoozed", round.to_string()));
        let snooze = PutBack {
            id: job.id,
            claim: job.claim,
            delay: Duration::ZERO,
            refund: true,
            snooze: true,
            entry,
        };
        put_back(&mut conn, &[snooze]).await.unwrap();
        job = claim(&mut conn, QUEUE, register(db.pool()).await, 1).await.unwrap().remove(0);
    }
    let view = view(&db, job.id).await;
    let entries = view.failures.as_array().unwrap();
    assert_eq!(entries.len(), 50);
    assert_eq!(entries[49]["error"], "59");
    assert_eq!((view.attempt, view.snoozes), (1, 60));
}

#[tokio::test]
async fn a_job_without_delay_keeps_its_place_and_with_one_waits() {
    let db = TestDatabase::create().await;
    let (a, b) = (claimed(&db).await, claimed(&db).await);
    let mut conn = db.conn().await;
    put_back(&mut conn, &[back(a.id, a.claim, Duration::ZERO), back(b.id, b.claim, Duration::from_mins(1))])
        .await
        .unwrap();
    let (a_view, b_view) = (view(&db, a.id).await, view(&db, b.id).await);
    assert_eq!((a_view.state.as_str(), a_view.run_at), ("queued", a.run_at));
    assert_eq!(b_view.state, "scheduled");
    let wait = b_view.run_at - chrono::Utc::now();
    assert!((50..=60).contains(&wait.num_seconds()), "{wait}");
}
