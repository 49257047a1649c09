//! Workers that die, stop, or are too late.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::pin::pin;

use tokio_util::sync::CancellationToken;
use waybill_jobs::{JobContext, Outcome, testing::Mortal};
use waybill_schema::imports::{ImportKind, ImportStatus};

use super::{Setup, counts};

#[tokio::test]
async fn workers_that_die_anywhere_repeat_and_lose_nothing() {
    let setup = Setup::new(2).await;
    let row = |n: i32| [format!("S{n},Thing {n},{}\n", n % 5), "\n".repeat(usize::from(n % 4 == 0))].concat();
    let rows = (1..=12).map(row).collect::<Vec<_>>().concat();
    let file = format!("sku,name,price\n{rows}bad,,\n");
    let import = setup.upload(ImportKind::Products, file.as_bytes()).await;
    // Each attempt lives a little longer than the last; those that get somewhere are followed from there.
    let mut deaths = 0;
    for polls in 1.. {
        let context = setup.db.claim(import.job_id).await;
        let future = pin!(setup.attempt(&import, context));
        if let Some(outcome) = (Mortal { future, polls }).await {
            assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 20, "{deaths}");
    let import = setup.find(import.id).await;
    assert_eq!((import.status, counts(&import)), (ImportStatus::Completed, [16, 12, 0, 0, 1]));
    let db = &setup.db;
    assert_eq!(
        db.text("select count(*) || ' ' || max(version) from products").await,
        "12 2",
        "each written once"
    );
    assert_eq!(db.text("select count(*) from outbox").await, "12");
    assert_eq!(setup.errors(&import).await.len(), 2);
    assert_eq!(db.text("select (result->>'rows_created') from job_history where state = 'done'").await, "12");
}

#[tokio::test]
async fn a_stopping_worker_hands_the_file_on_and_a_lost_claim_writes_nothing() {
    let setup = Setup::new(1).await;
    let import = setup.upload(ImportKind::Products, b"sku,name,price\nA,Lamp,1\nB,Cup,1\n").await;
    let context = setup.db.claim(import.job_id).await;
    context.cancelled.cancel();
    let outcome = setup.attempt(&import, context.clone()).await.unwrap();
    assert!(matches!(outcome, Outcome::Snooze { .. }), "{outcome:?}");
    assert_eq!(counts(&setup.find(import.id).await), [1, 1, 0, 0, 0], "what was in hand is finished");

    // Another worker took the job: the first one's claim is stale.
    let stale = JobContext { cancelled: CancellationToken::new(), ..context };
    let heir = setup.db.claim(import.job_id).await;
    let failure = setup.attempt(&import, stale).await.unwrap_err();
    assert!(failure.message.contains("no longer holds"), "{failure:?}");
    assert_eq!(counts(&setup.find(import.id).await), [1, 1, 0, 0, 0]);
    assert!(matches!(setup.attempt(&import, heir).await.unwrap(), Outcome::Finished(_)));
    assert_eq!(counts(&setup.find(import.id).await), [2, 2, 0, 0, 0]);
}
