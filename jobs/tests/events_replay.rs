//! Events of the past, again: in their order, once, and beside those that happen meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events_support;

use chrono::{TimeDelta, Utc};
use events_support::{Lane, World, recorder::Recorder, world::things};
use waybill_jobs::{
    events_lane::{
        lag,
        replay::{self, Replay},
    },
    testing::until,
};

fn everything(pipeline: &str) -> Replay {
    Replay {
        pipeline: pipeline.to_owned(),
        topics: vec!["thing.changed".to_owned()],
        since: Utc::now() - TimeDelta::hours(1),
        until: Utc::now() + TimeDelta::hours(1),
        id: waybill_schema::new_id(),
    }
}

/// Steps to the end; answers with (seen, queued).
async fn run(world: &World, replay: &Replay) -> (i64, i64) {
    let mut conn = world.db.conn().await;
    let (mut after, mut seen, mut queued) = (0, 0, 0);
    loop {
        let step = replay::step(&mut conn, replay, after, 7).await.unwrap();
        seen += step.seen;
        queued += step.queued;
        let Some(last) = step.last else { return (seen, queued) };
        after = last;
    }
}

async fn handled_events_come_again(lane: Lane) {
    let Some(world) = World::new(lane).await else { return };
    let things = things(4);
    let process = world.process();
    world.emit(&things, 0..5).await;
    world.settled(20).await;
    let replay = everything("recorder");
    assert_eq!(replay::count(&mut *world.db.conn().await, &replay).await.unwrap(), 20);
    assert_eq!(run(&world, &replay).await, (20, 20));
    // New ones wait behind the old ones of their thing.
    world.emit(&things, 5..7).await;
    world.settled(48).await;
    let expected: Vec<i64> = (0..5).chain(0..5).chain(5..7).collect();
    for (thing, effects) in world.effects().await {
        assert_eq!(effects, expected, "of {thing}");
    }
    assert_eq!(world.db.count("select count(*) as n from dead_letters").await, 0);
    process.stop().await;
}

#[tokio::test]
async fn handled_events_come_again_on_the_brokers_lane() {
    handled_events_come_again(Lane::Amqp).await;
}

#[tokio::test]
async fn handled_events_come_again_on_postgres() {
    handled_events_come_again(Lane::Postgres).await;
}

#[tokio::test]
async fn a_step_that_is_repeated_makes_no_second_job() {
    let world = World::new(Lane::Postgres).await.unwrap();
    let things = things(3);
    let process = world.process();
    world.emit(&things, 0..3).await;
    world.settled(9).await;
    process.stop().await;
    let replay = everything("recorder");
    assert_eq!(run(&world, &replay).await, (9, 9));
    assert_eq!(run(&world, &replay).await, (9, 0), "what is on its way is left alone");
    let other = everything("recorder");
    assert_eq!(run(&world, &other).await, (9, 0), "by another replay too");
    let process = world.process();
    world.settled(18).await;
    process.stop().await;
}

/// One at a time of an aggregate can run; the others are out of the claims' way until it is their turn.
#[tokio::test]
async fn a_crowd_of_one_aggregate_is_held_and_keeps_its_order() {
    let world = World::new(Lane::Postgres).await.unwrap();
    let (hot, others) = (things(1), things(3));
    world.emit(&hot, 0..250).await;
    let relay = world.relay_only();
    until("they are jobs", || async {
        world.db.count("select count(*) as n from jobs where queue = 'events.recorder'").await == 250
    })
    .await;
    relay.stop().await;
    world.recorder.hold();
    let process = world.process();
    until("the crowd is held", || async {
        world.db.count("select count(*) as n from jobs where hold = 'partition'").await == 249
    })
    .await;
    // Others go by.
    world.recorder.release();
    world.emit(&others, 0..3).await;
    world.settled(259).await;
    let effects = world.effects().await;
    assert_eq!(effects[&hot[0]], (0..250).collect::<Vec<_>>());
    for thing in &others {
        assert_eq!(effects[thing], [0, 1, 2], "of {thing}");
    }
    process.stop().await;
}

#[tokio::test]
async fn a_pipeline_that_is_new_gets_what_was_before_it() {
    let world = World::new(Lane::Postgres).await.unwrap();
    let things = things(3);
    let process = world.process();
    world.emit(&things, 0..4).await;
    world.settled(12).await;
    process.stop().await;
    assert_eq!(run(&world, &everything("second")).await, (12, 12));
    let process = world.process_with(vec![Recorder::new("second", 10)]);
    until("the new pipeline has seen them", || async {
        world.db.count("select count(*) as n from recorded where pipeline = 'second'").await == 12
    })
    .await;
    assert_eq!(world.db.count("select count(*) as n from recorded where pipeline = 'recorder'").await, 12);
    process.stop().await;
}

/// A bad release gave events up; somebody discarded some of them, mended it, and wants them handled after all.
#[tokio::test]
async fn what_was_given_up_is_replayed_and_what_is_dead_is_counted() {
    let world = World::new(Lane::Postgres).await.unwrap();
    let things = things(3);
    world.recorder.script.lock().unwrap().hopeless = vec![(things[0], 1), (things[1], 1)];
    let process = world.process();
    world.emit(&things, 0..3).await;
    world.settled(7).await;
    let dead = "select id from dead_letters where payload->'payload'->>'thing' = ";
    let ids = world.texts(&format!("{dead} '{}'", things[0])).await;
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.parse().unwrap()).collect();
    let discarded =
        waybill_schema::system::rework::discard(&mut *world.db.conn().await, &ids, "ada").await.unwrap();
    assert_eq!(discarded.len(), 1);
    world.recorder.script.lock().unwrap().hopeless.clear();

    let replay = everything("recorder");
    let step = replay::step(&mut *world.db.conn().await, &replay, 0, 100).await.unwrap();
    assert_eq!((step.seen, step.queued, step.dead), (9, 8, 1));
    world.settled(15).await;
    assert_eq!(world.effects().await[&things[0]], [0, 2, 0, 1, 2]);
    assert_eq!(world.effects().await[&things[1]], [0, 2, 0, 2]);
    assert_eq!(
        world.texts(&format!("{dead} '{}'", things[1])).await.len(),
        1,
        "it still waits for a decision"
    );
    // And it is like any other afterwards.
    assert_eq!(run(&world, &everything("recorder")).await, (9, 8));
    process.stop().await;
}

#[tokio::test]
async fn the_time_and_the_topic_bound_it() {
    let world = World::new(Lane::Postgres).await.unwrap();
    let process = world.process();
    world.emit(&things(2), 0..2).await;
    world.settled(4).await;
    process.stop().await;
    let early = Replay { until: Utc::now() - TimeDelta::minutes(30), ..everything("recorder") };
    assert_eq!(run(&world, &early).await, (0, 0));
    let other = Replay { topics: vec!["thing.unwanted".to_owned()], ..everything("recorder") };
    assert_eq!(run(&world, &other).await, (0, 0));
}

async fn lag_counts_what_is_not_handled(lane: Lane) {
    let Some(world) = World::new(lane).await else { return };
    let things = things(3);
    let measured = async || lag(&mut *world.db.conn().await, &["recorder"]).await.unwrap().remove(0);
    assert_eq!((measured().await.at_broker, measured().await.as_jobs), (0, 0));
    world.recorder.hold();
    let process = world.process();
    world.emit(&things, 0..2).await;
    until("the events are on their way", || async {
        let lag = measured().await;
        let (here, elsewhere) =
            if lane == Lane::Amqp { (lag.at_broker, lag.as_jobs) } else { (lag.as_jobs, lag.at_broker) };
        here == 6 && elsewhere == 0 && lag.oldest_seconds > 0.0
    })
    .await;
    world.recorder.release();
    world.settled(6).await;
    until("nothing is behind", || async {
        let lag = measured().await;
        (lag.at_broker, lag.as_jobs, lag.dead) == (0, 0, 0)
    })
    .await;
    process.stop().await;
}

#[tokio::test]
async fn lag_counts_what_is_at_the_broker() {
    lag_counts_what_is_not_handled(Lane::Amqp).await;
}

#[tokio::test]
async fn lag_counts_what_waits_as_jobs() {
    lag_counts_what_is_not_handled(Lane::Postgres).await;
}
