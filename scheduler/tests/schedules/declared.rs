//! Which of several programs has the word about a schedule of the code.

use chrono::{DateTime, Utc};
use waybill_scheduler::fire;
use waybill_schema::schedules::{
    ScheduleRow,
    declare::{Declared, Declarer, declare, forget_undeclared},
    manage,
    spec::Spec,
};

use crate::{ago, find, schedule, with};

fn program(name: &str, release: i64, started: i64) -> Declarer {
    let started = DateTime::from_timestamp(1_800_000_000 + started, 0).unwrap();
    Declarer { name: name.to_owned(), release, started, anew: false }
}

#[tokio::test]
async fn of_two_builds_of_one_release_the_one_that_was_started_last_declares() {
    let db = with(&[]).await;
    let mut conn = db.conn().await;
    let hourly = schedule("shared", "every 1h", ago(1));
    let daily = ScheduleRow { spec: "every 1d".to_owned(), ..hourly.clone() };
    let (first, last) = (program("first", 1, 10), program("last", 1, 20));
    let says = |by: &Declarer| format!("{}, started {}", by.name, by.started.format("%Y-%m-%dT%H:%M:%SZ"));
    assert_eq!(declare(&mut conn, &hourly, &first).await.unwrap(), Declared::Agreed);
    assert_eq!(declare(&mut conn, &daily, &last).await.unwrap(), Declared::Instead(says(&first)));
    for _ in 0..2 {
        let told = declare(&mut conn, &hourly, &first).await.unwrap();
        assert_eq!(told, Declared::Overruled(says(&last)));
        assert_eq!(declare(&mut conn, &daily, &last).await.unwrap(), Declared::Agreed);
        assert_eq!(find(&db, "shared").await.spec, "every 1d");
    }
    // Another process of the build that has the word keeps it, whenever it was started.
    db.execute("update schedules set declared_at = now() - interval '59 minutes'").await;
    assert_eq!(declare(&mut conn, &daily, &program("twin", 1, 5)).await.unwrap(), Declared::Agreed);
    assert_eq!(
        db.count("select count(*) as n from schedules where declared_at > now() - interval '1 minute'").await,
        1
    );
    assert_eq!(declare(&mut conn, &hourly, &first).await.unwrap(), Declared::Overruled(says(&last)));
    // Nobody of that build is there any more.
    db.execute("update schedules set declared_at = now() - interval '61 minutes'").await;
    assert_eq!(declare(&mut conn, &hourly, &first).await.unwrap(), Declared::Instead(says(&last)));
    assert_eq!(find(&db, "shared").await.spec, "every 1h");
}

#[tokio::test]
async fn while_two_releases_run_the_newer_one_declares() {
    let db = with(&[]).await;
    let mut conn = db.conn().await;
    let old = ScheduleRow { spec: "every 1h".to_owned(), ..schedule("shared", "every 1h", ago(1)) };
    let new = ScheduleRow { spec: "every 2h".to_owned(), ..old.clone() };
    let added = schedule("added", "every 1h", ago(1));
    let old_release = async |conn: &mut waybill_schema::Conn| {
        declare(conn, &old, &program("old", 1, 0)).await.unwrap();
        forget_undeclared(conn, &["shared"]).await.unwrap();
    };
    old_release(&mut conn).await;
    for row in [&new, &added] {
        declare(&mut conn, row, &program("new", 2, 0)).await.unwrap();
    }
    // An old scheduler is started anew meanwhile.
    old_release(&mut conn).await;
    assert_eq!(find(&db, "shared").await.spec, "every 2h");
    assert!(manage::find(&mut conn, "added").await.unwrap().is_some(), "it is not the old one's to forget");
    // The new release was taken back.
    db.execute("update schedules set declared_at = now() - interval '61 minutes'").await;
    old_release(&mut conn).await;
    assert_eq!(find(&db, "shared").await.spec, "every 1h");
    assert!(manage::find(&mut conn, "added").await.unwrap().is_none());
    // One from a release that did not say when gets its hour from now.
    db.execute("update schedules set declared_at = null, name = 'older'").await;
    old_release(&mut conn).await;
    assert!(manage::find(&mut conn, "older").await.unwrap().is_some());
}

#[tokio::test]
async fn a_new_schedule_is_due_at_once_and_a_changed_one_at_its_own_next_time() {
    let db = with(&[]).await;
    let mut conn = db.conn().await;
    let before = schedule("yearly", "every 1h", ago(1));
    declare(&mut conn, &before, &program("old", 1, 0)).await.unwrap();
    assert_eq!(fire::due(db.pool()).await.unwrap(), 1);

    // A time of the old spec that nobody has fired is none of the new one.
    db.execute("update schedules set next_at = now() - interval '1 minute'").await;
    let after = ScheduleRow { spec: "0 0 1 1 *".to_owned(), ..before };
    for started in [10, 20] {
        declare(&mut conn, &after, &program("new", 2, started)).await.unwrap();
        assert_eq!(fire::due(db.pool()).await.unwrap(), 0);
        let next = Spec::parse(&after.spec, "UTC").unwrap().next(Utc::now()).unwrap();
        assert_eq!(find(&db, "yearly").await.next_at, next);
    }
    // Its times are others in another place.
    let elsewhere = ScheduleRow { time_zone: "Asia/Tokyo".to_owned(), ..after };
    declare(&mut conn, &elsewhere, &program("newer", 3, 0)).await.unwrap();
    assert_eq!(fire::due(db.pool()).await.unwrap(), 0);
    let next = Spec::parse(&elsewhere.spec, "Asia/Tokyo").unwrap().next(Utc::now()).unwrap();
    assert_eq!(find(&db, "yearly").await.next_at, next);

    // What is due of a schedule that says what it said is not forgotten.
    db.execute("update schedules set next_at = now() - interval '1 minute'").await;
    declare(&mut conn, &elsewhere, &program("newer", 3, 10)).await.unwrap();
    assert_eq!(fire::due(db.pool()).await.unwrap(), 1);
}
