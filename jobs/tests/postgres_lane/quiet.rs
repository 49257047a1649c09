//! A worker that is asked from outside to claim nothing more, and what it says of its places.

use waybill_jobs::{
    Outcome, control,
    testing::{TestDatabase, until},
};
use waybill_schema::system::workers::{list, set_quiet};

use crate::rig::{Probe, QUEUE, Rig, config, put, registry, view, when};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_worker_claims_nothing_until_it_may_also_in_its_next_life() {
    let db = TestDatabase::create().await;
    let mut rig = Rig::start(&db, registry(async |_, _| Ok(Outcome::done())), config());
    let id = rig.id().await;
    let first = put(&db, &Probe::default()).await;
    when(&db, first, "done").await;

    assert_eq!(set_quiet(&mut *db.conn().await, id, true, "op").await.unwrap(), Some(true));
    assert_eq!(set_quiet(&mut *db.conn().await, id, true, "another").await.unwrap(), Some(false));
    let quiet = "select count(*) as n from workers where state = 'quiet' and quiet_by = 'op'";
    until("it is quiet", || async { db.count(quiet).await == 1 }).await;
    let waiting = put(&db, &Probe::default()).await;
    let beats = "select count(*) as n from workers where heartbeat_at > (select created_at from jobs) + interval '1.2 seconds'";
    until("it has looked at its queue in the meantime, if it does", || async { db.count(beats).await == 1 })
        .await;
    assert_eq!(view(&db, waiting).await.attempt, 0);

    // Taken for dead, it comes back under another id, and is what it was asked to be.
    db.execute("delete from workers").await;
    until("it is back and quiet", || async { db.count(quiet).await == 1 }).await;
    assert_eq!(view(&db, waiting).await.attempt, 0);
    assert_eq!(set_quiet(&mut *db.conn().await, id, false, "op").await.unwrap(), None, "that life is over");
    let id = list(&mut *db.conn().await).await.unwrap()[0].id;
    assert_eq!(set_quiet(&mut *db.conn().await, id, false, "op").await.unwrap(), Some(true));
    when(&db, waiting, "done").await;
    until("it says so", || async {
        db.count("select count(*) as n from workers where state = 'running'").await == 1
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_says_what_places_it_was_started_with_and_has() {
    let db = TestDatabase::create().await;
    let mut rig = Rig::start(&db, registry(async |_, _| Ok(Outcome::done())), config());
    let id = rig.id().await;
    let says = async |now: i64| {
        until("its row says so", || async {
            let places = list(&mut *db.conn().await).await.unwrap()[0].places.clone();
            places == serde_json::json!([{ "queue": QUEUE, "configured": 8, "now": now, "running": 0 }])
        })
        .await;
    };
    says(8).await;
    assert!(control::set_places(&mut *db.conn().await, QUEUE, Some(id), Some(3), "op").await.unwrap());
    says(3).await;
    // Nobody is there to have them.
    let nobody = waybill_schema::new_id();
    assert!(!control::set_places(&mut *db.conn().await, QUEUE, Some(nobody), Some(3), "op").await.unwrap());
    control::set_places(&mut *db.conn().await, QUEUE, None, Some(5), "op").await.unwrap();
    control::set_places(&mut *db.conn().await, QUEUE, Some(id), None, "op").await.unwrap();
    says(5).await;
    control::set_places(&mut *db.conn().await, QUEUE, Some(id), Some(3), "op").await.unwrap();
    rig.stop().await;
    assert_eq!(control::places(&mut *db.conn().await).await.unwrap().len(), 1, "what was said to it is gone");
}
