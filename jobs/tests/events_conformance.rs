//! What both lanes promise: one suite, run on each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events_support;

use std::time::Duration;

use events_support::{
    Lane, World,
    recorder::Unwanted,
    world::{ATTEMPTS, things},
};
use serde_json::json;
use uuid::Uuid;
use waybill_jobs::{emit, testing::until};

/// Runs each test on each lane.
macro_rules! on_both_lanes {
    ($($test:ident),+ $(,)?) => {
        mod amqp {
            $(#[tokio::test]
            async fn $test() {
                if let Some(world) = super::World::new(super::Lane::Amqp).await {
                    super::$test(world).await;
                }
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                if let Some(world) = super::World::new(super::Lane::Postgres).await {
                    super::$test(world).await;
                }
            })+
        }
    };
}

on_both_lanes! {
    an_event_takes_effect_once,
    events_of_an_aggregate_arrive_in_order,
    events_are_handled_in_batches,
    a_failed_event_is_tried_again_and_holds_back_its_aggregate_only,
    a_panic_is_a_failure,
    poison_becomes_a_dead_letter_and_the_others_flow,
    a_permanent_failure_is_a_dead_letter_at_once,
    when_everything_fails_everything_is_tried_again,
    a_copy_is_known,
    what_cannot_be_read_is_kept_as_a_dead_letter,
    an_event_that_nobody_wants_goes_to_the_log,
    a_killed_process_loses_and_repeats_nothing,
    a_stop_in_the_middle_of_a_batch_finishes_it,
    two_processes_share_the_work,
    the_database_may_restart,
    a_database_that_is_away_is_waited_for,
    parts_of_a_batch_may_be_handled_side_by_side,
    an_endless_wait_is_a_failure,
}

async fn an_event_takes_effect_once(world: World) {
    let things = things(20);
    world.emit(&things, 0..3).await;
    let process = world.process();
    world.settled(60).await;
    world.assert_in_order(&things, 0..3).await;
    let lanes = world.texts("select distinct lane from event_log").await;
    assert_eq!(lanes, [world.lane.as_str()]);
    let handled = world.texts("select distinct lane from inbox").await;
    assert_eq!(handled, [world.lane.as_str()]);
    assert_eq!(world.texts("select distinct pipelines::text from event_log").await, ["{recorder}"]);
    assert_eq!(world.db.count("select count(*) as n from inbox").await, 60);
    process.stop().await;
}

async fn events_of_an_aggregate_arrive_in_order(world: World) {
    let things = things(5);
    let process = world.process();
    world.emit(&things, 0..40).await;
    world.settled(200).await;
    world.assert_in_order(&things, 0..40).await;
    process.stop().await;
}

async fn events_are_handled_in_batches(world: World) {
    let things = things(200);
    world.emit(&things, 0..1).await;
    let process = world.process();
    world.settled(200).await;
    let batches = world.recorder.batches.lock().unwrap().clone();
    assert!(batches.iter().all(|size| *size <= 50), "{batches:?}");
    assert!(batches.len() < 50, "{batches:?}");
    process.stop().await;
}

async fn a_failed_event_is_tried_again_and_holds_back_its_aggregate_only(world: World) {
    let things = things(5);
    world.recorder.script.lock().unwrap().failures.insert((things[0], 2), 2);
    world.emit(&things, 0..6).await;
    let process = world.process();
    world.settled(30).await;
    world.assert_in_order(&things, 0..6).await;
    // The batch, then alone, is one attempt.
    let failures = world
        .texts("select string_agg(f->>'error', ',') from job_history, jsonb_array_elements(failures) f group by id")
        .await;
    assert!(
        !failures.is_empty() && failures.iter().all(|text| text.contains("not this time")),
        "{failures:?}"
    );
    assert_eq!(world.db.count("select count(*) as n from dead_letters").await, 0);
    process.stop().await;
}

async fn a_panic_is_a_failure(world: World) {
    let things = things(3);
    world.recorder.script.lock().unwrap().panics.push((things[1], 0));
    world.emit(&things, 0..2).await;
    let process = world.process();
    world.settled(6).await;
    world.assert_in_order(&things, 0..2).await;
    process.stop().await;
}

async fn poison_becomes_a_dead_letter_and_the_others_flow(world: World) {
    let things = things(4);
    world.recorder.script.lock().unwrap().poison.push((things[0], 1));
    world.emit(&things, 0..4).await;
    let process = world.process();
    world.settled(15).await;
    let effects = world.effects().await;
    assert_eq!(effects[&things[0]], [0, 2, 3]);
    for thing in &things[1..] {
        assert_eq!(effects[thing], [0, 1, 2, 3]);
    }
    let dead = world
        .texts("select concat_ws(' ', kind, queue, attempt, jsonb_array_length(failures), payload->'payload'->>'n') from dead_letters")
        .await;
    assert_eq!(dead, [format!("event.recorder events.recorder {ATTEMPTS} {ATTEMPTS} 1")]);
    process.stop().await;
}

async fn a_permanent_failure_is_a_dead_letter_at_once(world: World) {
    let things = things(3);
    world.recorder.script.lock().unwrap().hopeless.push((things[0], 0));
    world.emit(&things, 0..2).await;
    let process = world.process();
    world.settled(5).await;
    let dead = world.texts("select concat_ws(' ', attempt, failures->0->>'error') from dead_letters").await;
    assert_eq!(dead, ["1 hopeless"]);
    assert_eq!(world.effects().await[&things[0]], [1]);
    process.stop().await;
}

async fn when_everything_fails_everything_is_tried_again(world: World) {
    let things = things(40);
    {
        let mut script = world.recorder.script.lock().unwrap();
        script.failures = things.iter().map(|thing| ((*thing, 0), 1)).collect();
    }
    world.emit(&things, 0..1).await;
    let process = world.process();
    world.settled(40).await;
    process.stop().await;
}

async fn a_copy_is_known(world: World) {
    let things = things(3);
    world.emit(&things, 0..1).await;
    let process = world.process();
    world.settled(3).await;
    let ids = world.texts("select id from event_log").await;
    let ids: Vec<Uuid> = ids.iter().map(|id| id.parse().unwrap()).collect();
    match world.lane {
        Lane::Amqp => {
            for body in world
                .texts(
                    "select event_envelope(id, topic, version, aggregate, aggregate_id, created_at, correlation_id,
                            causation_id, traceparent, payload) from event_log",
                )
                .await
            {
                world.names().publish("thing.changed", 1, body.as_bytes()).await;
            }
        }
        Lane::Postgres => world.duplicate_jobs(&ids).await,
    }
    // What comes after the copies has come through the same queue.
    world.emit(&things, 1..2).await;
    world.settled(6).await;
    world.assert_in_order(&things, 0..2).await;
    process.stop().await;
}

async fn what_cannot_be_read_is_kept_as_a_dead_letter(world: World) {
    let things = things(2);
    let process = world.process();
    world.emit(&things, 0..1).await;
    world.settled(2).await;
    match world.lane {
        Lane::Amqp => {
            // The same twice: a redelivery must not make two of it. NUL is what Postgres does not take.
            for _ in 0..2 {
                world.names().publish("thing.changed", 1, b"{\"not\": \0 an event").await;
            }
        }
        Lane::Postgres => {
            world
                .db
                .execute(
                    "insert into jobs (id, kind, queue, max_attempts, payload)
                     values (gen_random_uuid(), 'event.recorder', 'events.recorder', 3, '{\"not\": \"an event\"}')",
                )
                .await;
        }
    }
    world.emit(&things, 1..2).await;
    world.settled(4).await;
    until("it is a dead letter", || async {
        world.db.count("select count(*) as n from dead_letters where kind = 'event.recorder'").await == 1
    })
    .await;
    let kept = world.texts("select payload from dead_letters").await;
    assert!(kept[0].contains("an event"), "{kept:?}");
    process.stop().await;
}

async fn an_event_that_nobody_wants_goes_to_the_log(world: World) {
    let things = things(2);
    let process = world.process();
    {
        let conn = world.db.conn().await;
        emit(&conn, &Unwanted { thing: things[0] }, None).await.unwrap();
    }
    world.emit(&things, 0..1).await;
    world.settled(2).await;
    let log = world.texts("select concat_ws(' ', topic, pipelines::text) from event_log order by 1").await;
    assert_eq!(log, ["thing.changed {recorder}", "thing.changed {recorder}", "thing.unwanted {}"]);
    process.stop().await;
}

async fn a_killed_process_loses_and_repeats_nothing(world: World) {
    let things = things(30);
    world.recorder.hold();
    world.emit(&things, 0..3).await;
    let first = world.process();
    world.recorder.begun_more_than(0).await;
    let dead = first.kill();
    world.recorder.release();
    let second = world.process();
    world.take_over(dead).await;
    world.settled(90).await;
    world.assert_in_order(&things, 0..3).await;
    second.stop().await;
}

async fn a_stop_in_the_middle_of_a_batch_finishes_it(world: World) {
    let things = things(30);
    world.recorder.hold();
    world.emit(&things, 0..2).await;
    let first = world.process();
    world.recorder.begun_more_than(0).await;
    first.ask_to_stop();
    world.recorder.release();
    first.stopped().await;
    let done = world.db.count("select count(*) as n from recorded").await;
    assert!(done > 0, "the batch in hand was thrown away");
    assert_eq!(world.db.count("select count(*) as n from jobs where state = 'running'").await, 0);
    let charged = world.db.count("select count(*) as n from jobs where attempt > 0").await;
    assert_eq!(charged, 0, "a stop charges no attempt");
    let second = world.process();
    world.settled(60).await;
    world.assert_in_order(&things, 0..2).await;
    second.stop().await;
}

async fn two_processes_share_the_work(world: World) {
    let things = things(40);
    let (first, second) = (world.process(), world.process());
    world.emit(&things, 0..10).await;
    world.settled(400).await;
    world.assert_in_order(&things, 0..10).await;
    first.stop().await;
    // What the first one owned is the second one's now.
    world.emit(&things, 10..15).await;
    world.settled(600).await;
    world.assert_in_order(&things, 0..15).await;
    second.stop().await;
}

async fn the_database_may_restart(world: World) {
    let things = things(20);
    let process = world.process();
    for round in 0..5 {
        world.emit(&things, round * 5..round * 5 + 5).await;
        world.restart_database().await;
    }
    world.settled(500).await;
    world.assert_in_order(&things, 0..25).await;
    assert_eq!(world.db.count("select count(*) as n from dead_letters").await, 0);
    process.stop().await;
}

/// Nothing can be concluded about events while the database is away: none is charged an attempt.
async fn a_database_that_is_away_is_waited_for(world: World) {
    let things = things(20);
    let process = world.process();
    world.recorder.hold();
    world.emit(&things, 0..2).await;
    world.recorder.begun_more_than(0).await;
    world.database_away(true).await;
    world.recorder.release();
    for _ in 0..50 {
        assert!(!world.database_answers().await);
    }
    world.database_away(false).await;
    world.settled(40).await;
    world.assert_in_order(&things, 0..2).await;
    assert_eq!(world.db.count("select count(*) as n from job_history where failures <> '[]'").await, 0);
    process.stop().await;
}

async fn parts_of_a_batch_may_be_handled_side_by_side(mut world: World) {
    world.config.concurrency = 4;
    let things = things(12);
    world.recorder.script.lock().unwrap().failures.insert((things[3], 4), 2);
    let process = world.process();
    world.emit(&things, 0..20).await;
    world.settled(240).await;
    world.assert_in_order(&things, 0..20).await;
    process.stop().await;
}

async fn an_endless_wait_is_a_failure(mut world: World) {
    world.config.policy.timeout = Duration::from_millis(200);
    world.config.policy.max_attempts = 100;
    let things = things(1);
    world.recorder.hold();
    let process = world.process();
    world.emit(&things, 0..1).await;
    until("it has failed", || async {
        world
            .db
            .count("select count(*) as n from jobs where failures->0->>'error' like 'apply took longer%'")
            .await
            == 1
    })
    .await;
    world.recorder.release();
    world.settled(1).await;
    process.stop().await;
}

/// The shapes that other languages' consumers and our own tables agree on.
#[tokio::test]
async fn the_envelope_made_by_the_database_is_the_one_we_read() {
    let Some(world) = World::new(Lane::Postgres).await else { return };
    let things = things(1);
    world.emit(&things, 7..8).await;
    let body = world
        .texts(
            "select event_envelope(id, topic, version, aggregate, aggregate_id, created_at, correlation_id, causation_id,
                    traceparent, payload) from outbox",
        )
        .await
        .remove(0);
    let event: waybill_jobs::EventEnvelope = serde_json::from_str(&body).unwrap();
    assert_eq!(event.topic, "thing.changed");
    assert_eq!(event.payload, json!({ "thing": things[0], "n": 7 }));
    assert_eq!(event.correlation_id, Some(things[0]));
    let stored = world
        .texts("select to_char(created_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') from outbox")
        .await;
    assert_eq!(event.created_at.format("%Y-%m-%dT%H:%M:%S%.6f").to_string(), stored[0]);
    let again = serde_json::to_value(&event).unwrap();
    let time = again["created_at"].clone();
    assert_eq!(serde_json::from_value::<waybill_jobs::EventEnvelope>(again).unwrap(), event, "{time}");
}
