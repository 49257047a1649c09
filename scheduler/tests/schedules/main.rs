//! Schedules against a real database: who fires, what is missed, what overlaps.
#![allow(clippy::unwrap_used, clippy::panic)]

mod declared;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::{QueryableByName, sql_types::Text};
use serde_json::json;
use waybill_jobs::{
    JobContext, Outcome, Registry, enqueue,
    kinds::{Maintain, ReindexProducts},
    testing::{TestDatabase, drain, run_one},
};
use waybill_scheduler::{builtin, fire};
use waybill_schema::schedules::{Missed, Overlap, ScheduleRow, manage};

fn schedule(name: &str, spec: &str, next_at: DateTime<Utc>) -> ScheduleRow {
    ScheduleRow {
        name: name.to_owned(),
        origin: "api".to_owned(),
        spec: spec.to_owned(),
        time_zone: "UTC".to_owned(),
        missed: Missed::Once,
        missed_limit: 1,
        overlap: Overlap::Allow,
        paused: false,
        kind: "housekeeping.maintain".to_owned(),
        version: 1,
        queue: "housekeeping".to_owned(),
        max_attempts: 3,
        payload: json!({}),
        next_at: Some(next_at),
        last_at: None,
        last_job_id: None,
        problem: None,
    }
}

async fn with(schedules: &[ScheduleRow]) -> TestDatabase {
    let db = TestDatabase::create().await;
    let mut conn = db.conn().await;
    for schedule in schedules {
        assert!(manage::create(&mut conn, schedule).await.unwrap());
    }
    drop(conn);
    db
}

async fn find(db: &TestDatabase, name: &str) -> ScheduleRow {
    manage::find(&mut *db.conn().await, name).await.unwrap().unwrap()
}

fn ago(minutes: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::minutes(minutes)
}

#[tokio::test]
async fn many_schedulers_fire_each_time_once() {
    let schedules: Vec<_> = (0..30).map(|n| schedule(&format!("s{n}"), "every 1h", ago(1))).collect();
    let db = with(&schedules).await;
    let rounds = (0..6).map(|_| async {
        let mut enqueued = 0;
        for _ in 0..3 {
            enqueued += fire::due(db.pool()).await.unwrap();
        }
        enqueued
    });
    let enqueued: usize = futures::future::join_all(rounds).await.into_iter().sum();
    assert_eq!(enqueued, 30);
    assert_eq!(db.count("select count(*) as n from jobs").await, 30);
    assert_eq!(db.count("select count(*) as n from schedule_fires where job_id is not null").await, 30);
    // A time that has fired does not fire again, also if somebody's hand moves the schedule back.
    db.execute(
        "update schedules set next_at = (select min(fire_at) from schedule_fires f where f.schedule = name)",
    )
    .await;
    db.execute("update schedules set missed = 'all', missed_limit = 1").await;
    let at = db.count("select count(distinct fire_at) as n from schedule_fires").await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 0, "{at}");
}

#[tokio::test]
async fn missed_times_follow_the_policy() {
    let due =
        DateTime::from_timestamp(Utc::now().timestamp().div_euclid(3_600) * 3_600 - 5 * 3_600, 0).unwrap();
    let policy = |name: &str, missed: Missed, limit: i32| ScheduleRow {
        missed,
        missed_limit: limit,
        ..schedule(name, "every 1h", due)
    };
    let mut single = schedule("single", "at 2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z".parse().unwrap());
    single.missed = Missed::Skip;
    let db = with(&[
        policy("once", Missed::Once, 1),
        policy("all", Missed::All, 100),
        policy("some", Missed::All, 3),
        policy("skip", Missed::Skip, 1),
        single,
    ])
    .await;
    fire::due(db.pool()).await.unwrap();
    let fires = |name: &str| {
        let query = format!("select count(*) as n from schedule_fires where schedule = '{name}'");
        let db = &db;
        async move { db.count(&query).await }
    };
    assert_eq!(fires("once").await, 1);
    assert_eq!(fires("all").await, 6);
    assert_eq!(fires("some").await, 3);
    // Right after a full hour its newest time has just come.
    assert!(fires("skip").await <= 1);
    assert_eq!(fires("single").await, 0);
    assert_eq!(find(&db, "single").await.next_at, None);
    for name in ["once", "all", "some", "skip"] {
        let next = find(&db, name).await.next_at.unwrap();
        assert!(next > Utc::now() && next <= Utc::now() + TimeDelta::hours(1), "{name}: {next}");
    }
    // The oldest are the ones left out.
    let newest = db
        .count(
            "select count(*) as n from schedule_fires s where s.schedule = 'some'
               and s.fire_at >= (select max(fire_at) - interval '2 hours' from schedule_fires where schedule = 'all')",
        )
        .await;
    assert_eq!(newest, 3);
}

#[tokio::test]
async fn a_time_is_left_out_while_the_last_job_lives() {
    let lone = ScheduleRow { overlap: Overlap::Skip, ..schedule("lone", "every 1h", ago(1)) };
    let db = with(&[lone]).await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 1);
    db.execute("update schedules set next_at = now()").await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 0);
    assert_eq!(db.count("select count(*) as n from schedule_fires where job_id is null").await, 1);
    db.execute("delete from jobs").await;
    db.execute("delete from schedule_fires; update schedules set next_at = now()").await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_single_time_fires_once_and_rests() {
    let db = with(&[schedule("single", "at 2026-01-01T00:00:00Z", ago(1))]).await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 1);
    assert_eq!(fire::due(db.pool()).await.unwrap(), 0);
    let row = find(&db, "single").await;
    assert_eq!((row.next_at, row.paused), (None, false));
    let fires = manage::fires(&mut *db.conn().await, "single", 5).await.unwrap();
    assert_eq!(fires.len(), 1);
    assert_eq!((fires[0].job_id, fires[0].state.as_deref()), (row.last_job_id, Some("queued")));
}

#[tokio::test]
async fn one_that_cannot_be_read_rests_and_holds_up_nobody() {
    let db = with(&[schedule("broken", "every 1h", ago(9)), schedule("sound", "every 1h", ago(1))]).await;
    db.execute("update schedules set spec = 'now and then' where name = 'broken'").await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 1);
    let broken = find(&db, "broken").await;
    assert!(broken.paused && broken.problem.unwrap().contains("now and then"));
}

#[tokio::test]
async fn one_whose_arguments_fit_no_more_rests_and_says_so() {
    let misfit = ScheduleRow {
        kind: "events.replay".to_owned(),
        payload: json!({ "pipeline": 7 }),
        ..schedule("misfit", "every 1h", ago(9))
    };
    let db = with(&[misfit, schedule("sound", "every 1h", ago(1))]).await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 1);
    let misfit = find(&db, "misfit").await;
    assert!(misfit.paused && misfit.problem.is_some_and(|problem| problem.contains("invalid type")));
    assert_eq!(db.count("select count(*) as n from schedule_fires where schedule = 'misfit'").await, 0);
}

#[tokio::test]
async fn one_that_the_database_refuses_stays_due_and_holds_up_nobody() {
    // Of a kind that this version does not know, so that nothing but the table checks it.
    let refused = ScheduleRow {
        kind: "future.kind".to_owned(),
        max_attempts: 0,
        ..schedule("refused", "every 1h", ago(9))
    };
    let db = with(&[refused, schedule("sound", "every 1h", ago(1))]).await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 1, "the other one");
    let seen = find(&db, "refused").await;
    assert!(!seen.paused && seen.next_at.unwrap() < Utc::now(), "it stays due");
    assert!(seen.problem.unwrap().contains("max_attempts"));
    assert_eq!(db.count("select count(*) as n from schedule_fires where schedule = 'refused'").await, 0);
    // The cause is gone: the time that was refused fires, once, and nothing is said any more.
    TestDatabase::execute(&db, "update schedules set max_attempts = 3 where name = 'refused'").await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 1);
    assert_eq!(fire::due(db.pool()).await.unwrap(), 0);
    assert!(find(&db, "refused").await.problem.is_none());
    assert_eq!(db.count("select count(*) as n from jobs where kind = 'future.kind'").await, 1);
}

#[tokio::test]
async fn paused_ones_rest_and_those_of_the_code_stay_as_operators_left_them() {
    use diesel_async::RunQueryDsl as _;

    #[derive(QueryableByName)]
    struct Kind {
        #[diesel(sql_type = Text)]
        kind: String,
    }
    let db = with(&[ScheduleRow { paused: true, ..schedule("resting", "every 1h", ago(1)) }]).await;
    let by = builtin::declarer(db.pool()).await.unwrap();
    builtin::declare(db.pool(), &by).await.unwrap();
    let declared = db.count("select count(*) as n from schedules where origin = 'code'").await;
    assert!(declared >= 4);
    TestDatabase::execute(&db, "update schedules set paused = true where name = 'maintain'").await;
    builtin::declare(db.pool(), &by).await.unwrap();
    assert!(find(&db, "maintain").await.paused);
    let fired = fire::due(db.pool()).await.unwrap();
    assert_eq!(i64::try_from(fired).unwrap(), declared - 1);
    let kinds: Vec<Kind> =
        diesel::sql_query("select kind from jobs order by kind").load(&mut *db.conn().await).await.unwrap();
    assert!(kinds.iter().any(|row| row.kind == "housekeeping.check_invariants"));
    assert!(kinds.iter().all(|row| row.kind != "housekeeping.maintain"));
}

#[tokio::test]
async fn of_several_missed_times_the_newest_is_the_one_that_an_overlap_leaves() {
    let missed = ScheduleRow {
        missed: Missed::All,
        missed_limit: 3,
        overlap: Overlap::Skip,
        ..schedule("lone", "every 1h", ago(300))
    };
    let db = with(&[missed]).await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 1);
    let fires = manage::fires(&mut *db.conn().await, "lone", 5).await.unwrap();
    let fired: Vec<_> = fires.iter().map(|fire| fire.job_id.is_some()).collect();
    assert_eq!(fired, [true, false, false], "the newest first");
    assert_eq!(find(&db, "lone").await.last_at, Some(fires[0].fire_at));
}

/// A handler that answers with the time that its job is for.
fn tells_its_time() -> Registry {
    Registry::new().job(|_: Maintain, context: JobContext| async move {
        let scheduled = context.scheduled.clone().map(|scheduled| scheduled.schedule);
        Ok(Outcome::Done(Some(json!([scheduled, context.scheduled_for()]))))
    })
}

#[tokio::test]
async fn times_that_queue_up_run_one_after_the_other_and_know_their_time() {
    let missed = ScheduleRow {
        missed: Missed::All,
        missed_limit: 4,
        overlap: Overlap::Queue,
        ..schedule("report", "every 1h", ago(600))
    };
    let db = with(&[missed]).await;
    assert_eq!(fire::due(db.pool()).await.unwrap(), 4);
    assert_eq!(db.count("select count(distinct partition_key) as n from jobs").await, 1);
    assert_eq!(db.count("select count(*) as n from jobs where partition_key = 'schedule:report'").await, 4);
    let ran = drain(db.pool(), &tells_its_time(), "housekeeping").await;
    assert_eq!(ran.len(), 4);
    let fires = manage::fires(&mut *db.conn().await, "report", 5).await.unwrap();
    // In the order in which they ran.
    for (fire, ran) in fires.iter().rev().zip(&ran) {
        assert_eq!(fire.job_id, Some(ran.id));
        let told = fire.result.clone().unwrap();
        assert_eq!(told[0], "report");
        assert_eq!(told[1].as_str().unwrap().parse::<DateTime<Utc>>().unwrap(), fire.fire_at);
    }
    // A job that nobody scheduled knows of none; one that died keeps its time.
    let id = enqueue(&*db.conn().await, &Maintain {}).await.unwrap();
    run_one(db.pool(), &tells_its_time(), id).await;
    let none = format!("select count(*) as n from job_history where id = '{id}' and result = '[null, null]'");
    assert_eq!(db.count(&none).await, 1);
    let kept = "select count(*) as n from job_history where scheduled ->> 'schedule' = 'report'";
    assert_eq!(db.count(kept).await, 4);
}

#[tokio::test]
async fn a_fire_names_the_job_that_does_its_work() {
    let mut reindex = schedule("reindex", "every 1h", ago(1));
    reindex.kind = "search.reindex".to_owned();
    let job = ReindexProducts::default();
    reindex.payload = serde_json::to_value(&job).unwrap();
    let db = with(&[reindex]).await;
    let there = enqueue(&*db.conn().await, &job).await.unwrap();
    assert_eq!(fire::due(db.pool()).await.unwrap(), 0, "it is enqueued already");
    let fires = manage::fires(&mut *db.conn().await, "reindex", 5).await.unwrap();
    assert_eq!((fires[0].job_id, fires[0].existing), (Some(there), true));
    assert_eq!(fires[0].state.as_deref(), Some("queued"));
    assert_eq!(find(&db, "reindex").await.last_job_id, Some(there));
    assert_eq!(db.count("select count(*) as n from jobs where scheduled is null").await, 1);
}
