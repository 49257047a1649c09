//! Gauges of the service: what is gone is not shown as it was.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use tokio::sync::Mutex;
use waybill_jobs::testing::TestDatabase;
use waybill_platform::telemetry;
use waybill_scheduler::{board::Board, gauges};

/// The recorder is the process': where the tests run as threads of one they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// A series' value, as Prometheus would read it; none if it was never there.
fn value(series: &str) -> Option<f64> {
    let text = telemetry::metrics().render();
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn publish(db: &TestDatabase, board: &mut Board) {
    telemetry::metrics();
    gauges::publish(db.pool(), Duration::from_mins(5), board).await.unwrap();
}

#[tokio::test]
async fn what_is_gone_goes_to_zero() {
    let _turn = TURN.lock().await;
    let db = TestDatabase::create().await;
    let mut board = Board::default();
    db.execute(
        "insert into jobs (id, kind, queue, max_attempts, payload, run_at)
         select gen_random_uuid(), 'event', 'events.harbour', 3, '{}', now() - interval '1 hour' from generate_series(1, 3);
         insert into dependencies (name, down_since, down_until) values ('harbour', now(), now())",
    )
    .await;
    waybill_jobs::testing::serve(db.pool(), &["mail"]).await;
    publish(&db, &mut board).await;
    let queued = r#"waybill_queue_jobs{queue="events.harbour",state="queued"}"#;
    let oldest = r#"waybill_queue_oldest_seconds{queue="events.harbour"}"#;
    let outage = r#"waybill_outage{dependency="harbour"}"#;
    let workers = |queue: &str| value(&format!(r#"waybill_queue_workers{{queue="{queue}"}}"#));
    assert_eq!((value(queued), value(outage)), (Some(3.0), Some(1.0)));
    assert!(value(oldest).unwrap() >= 3_600.0);
    assert_eq!(
        (workers("events.harbour"), workers("mail"), workers("imports")),
        (Some(0.0), Some(1.0), Some(0.0))
    );
    assert_eq!(value(r#"waybill_queue_jobs{queue="mail",state="queued"}"#), Some(0.0), "from the start");

    db.execute("delete from jobs; delete from dependencies").await;
    publish(&db, &mut board).await;
    assert_eq!((value(queued), value(oldest), value(outage)), (Some(0.0), Some(0.0), Some(0.0)));
    let measured = value("waybill_service_measured_timestamp_seconds").unwrap();
    assert!(measured > 1_700_000_000.0);
}

#[tokio::test]
async fn a_round_that_fails_forgets_nothing() {
    let _turn = TURN.lock().await;
    let mut board = Board::default();
    telemetry::metrics();
    board.set("waybill_test_board", &[("of", "a")], 1.0);
    board.done();
    board.set("waybill_test_board", &[("of", "b")], 1.0);
    board.keep();
    let both = || (value(r#"waybill_test_board{of="a"}"#), value(r#"waybill_test_board{of="b"}"#));
    assert_eq!(both(), (Some(1.0), Some(1.0)));
    board.done();
    assert_eq!(both(), (Some(0.0), Some(0.0)));
}

#[tokio::test]
async fn invariants_are_those_of_the_newest_report_whoever_made_it() {
    let _turn = TURN.lock().await;
    let db = TestDatabase::create().await;
    let mut board = Board::default();
    db.execute(
        "insert into schedules (name, origin, spec, time_zone, missed, missed_limit, overlap, paused, kind, version, queue,
             max_attempts, payload)
         values ('check-invariants', 'code', 'every 1h', 'UTC', 'once', 1, 'skip', false, 'housekeeping.check_invariants', 1,
             'housekeeping', 3, '{}')",
    )
    .await;
    let report = async |minutes: i64, result: &str| {
        db.execute(&format!(
            "with job as (
                 insert into job_history (id, kind, version, queue, priority, state, attempt, max_attempts, snoozes, claim,
                     run_at, payload, failures, created_at, finished_at, result)
                 values (gen_random_uuid(), 'housekeeping.check_invariants', 1, 'housekeeping', 0, 'done', 1, 3, 0, 1, now(),
                     '{{}}', '[]', now(), now() - interval '{minutes} minutes', '{result}')
                 returning id)
             insert into schedule_fires (schedule, fire_at, job_id)
             select 'check-invariants', now() - interval '{minutes} minutes', id from job"
        ))
        .await;
    };
    let check = |name: &str| value(&format!(r#"waybill_invariant_broken{{check="{name}"}}"#));
    report(120, r#"{"ok": false, "broken": ["stock_oversold", "past"], "holds": ["order_totals"]}"#).await;
    publish(&db, &mut board).await;
    let all = || (check("stock_oversold"), check("order_totals"), check("past"));
    assert_eq!(all(), (Some(1.0), Some(0.0), Some(1.0)));
    let age = value("waybill_invariants_age_seconds").unwrap();
    assert!((7_200.0..7_260.0).contains(&age), "{age}");

    report(5, r#"{"ok": true, "broken": [], "holds": ["stock_oversold", "order_totals"]}"#).await;
    publish(&db, &mut board).await;
    assert_eq!(all(), (Some(0.0), Some(0.0), Some(0.0)));
}

#[tokio::test]
async fn rows_of_days_without_a_partition_are_counted() {
    let _turn = TURN.lock().await;
    let db = TestDatabase::create().await;
    let mut board = Board::default();
    let stray = r#"waybill_default_partition_rows{table="event_log"}"#;
    db.execute(
        "insert into event_log (seq, id, topic, version, aggregate, aggregate_id, shard, payload, created_at, lane)
         values (1, gen_random_uuid(), 'order.placed', 1, 'order', gen_random_uuid(), 1, '{}', '2001-01-01', 'amqp')",
    )
    .await;
    publish(&db, &mut board).await;
    assert_eq!(value(stray), Some(1.0));
    db.execute("delete from event_log").await;
    publish(&db, &mut board).await;
    assert_eq!(value(stray), Some(0.0));
}
