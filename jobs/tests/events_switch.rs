//! The broker goes and comes back: nothing is lost, doubled or reordered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events_support;

use events_support::{Lane, World, recorder::Recorder, world::things};
use uuid::Uuid;
use waybill_jobs::testing::until;

async fn lane_of(world: &World, thing: Uuid, n: i64) -> Vec<String> {
    world
        .texts(&format!(
            "select i.lane from inbox i join event_log e on e.id = i.event_id
             where e.aggregate_id = '{thing}' and e.payload->>'n' = '{n}'"
        ))
        .await
}

/// Until the broker carries an event again: however many went over Postgres first, one is the first to do so.
async fn back_at_the_broker(world: &World) {
    let probe = waybill_schema::new_id();
    let mut n = 0;
    until("the broker carries events again", || {
        n += 1;
        async move {
            world.emit(&[probe], n..n + 1).await;
            until("the probe is handled", || async { !lane_of(world, probe, n).await.is_empty() }).await;
            lane_of(world, probe, n).await == ["amqp"]
        }
    })
    .await;
    world.db.execute(&format!("delete from recorded where thing = '{probe}'")).await;
}

#[tokio::test]
async fn events_flow_over_postgres_while_the_broker_is_away_and_return_to_it() {
    let Some(world) = World::new(Lane::Amqp).await else { return };
    let things = things(10);
    let process = world.process();
    for round in 0..3 {
        let start = round * 30;
        world.emit(&things, start..start + 10).await;
        world.on_lane(Lane::Amqp).await;
        world.proxy().cut();
        world.emit(&things, start + 10..start + 20).await;
        world.settled(usize::try_from(start + 20).unwrap() * 10).await;
        assert_eq!(lane_of(&world, things[0], start + 19).await, ["postgres"]);
        world.proxy().restore();
        world.emit(&things, start + 20..start + 30).await;
        world.settled(usize::try_from(start + 30).unwrap() * 10).await;
        back_at_the_broker(&world).await;
    }
    world.assert_in_order(&things, 0..90).await;
    assert_eq!(world.db.count("select count(*) as n from dead_letters").await, 0);
    process.stop().await;
}

#[tokio::test]
async fn a_stream_of_events_survives_a_flapping_broker() {
    let Some(mut world) = World::new(Lane::Amqp).await else { return };
    world.config.down_after = std::time::Duration::from_millis(100);
    let things = things(8);
    let (first, second) = (world.process(), world.process());
    for round in 0..12 {
        world.emit(&things, round * 10..round * 10 + 5).await;
        world.proxy().cut();
        world.emit(&things, round * 10 + 5..round * 10 + 8).await;
        if round % 2 == 0 {
            world.on_lane(Lane::Postgres).await;
        }
        world.proxy().restore();
        world.emit(&things, round * 10 + 8..round * 10 + 10).await;
        if round % 3 == 0 {
            back_at_the_broker(&world).await;
        }
    }
    world.settled(120 * 8).await;
    world.assert_in_order(&things, 0..120).await;
    assert_eq!(world.db.count("select count(*) as n from dead_letters").await, 0);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_broker_that_hangs_is_as_good_as_gone() {
    let Some(world) = World::new(Lane::Amqp).await else { return };
    let things = things(10);
    let process = world.process();
    world.emit(&things, 0..5).await;
    world.settled(50).await;
    world.proxy().stall();
    world.emit(&things, 5..15).await;
    world.settled(150).await;
    assert_eq!(lane_of(&world, things[0], 14).await, ["postgres"]);
    // What was on its way arrives late, as copies.
    world.proxy().restore();
    back_at_the_broker(&world).await;
    world.emit(&things, 15..20).await;
    world.settled(200).await;
    world.assert_in_order(&things, 0..20).await;
    process.stop().await;
}

/// Blocks all of the broker, so it needs one of its own, and its command line: `WAYBILL_TEST_RABBITMQCTL="rabbitmqctl -n x"`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "blocks every publisher of the broker"]
async fn a_broker_short_of_disk_is_waited_for_on_postgres() {
    let Some(world) = World::new(Lane::Amqp).await else { return };
    let command = std::env::var("WAYBILL_TEST_RABBITMQCTL").expect("WAYBILL_TEST_RABBITMQCTL");
    let control = |arguments: &str| {
        let line = format!("{command} {arguments}");
        assert!(std::process::Command::new("sh").args(["-c", &line]).status().unwrap().success());
    };
    let things = things(10);
    let process = world.process();
    for round in 0..2 {
        world.emit(&things, round * 20..round * 20 + 10).await;
        back_at_the_broker(&world).await;
        control("set_disk_free_limit 100000GB");
        world.emit(&things, round * 20 + 10..round * 20 + 20).await;
        world.settled(usize::try_from(round * 20 + 20).unwrap() * 10).await;
        assert_eq!(lane_of(&world, things[0], round * 20 + 19).await, ["postgres"]);
        control("set_disk_free_limit 50MB");
    }
    back_at_the_broker(&world).await;
    world.assert_in_order(&things, 0..40).await;
    process.stop().await;
}

#[tokio::test]
async fn a_broker_that_appears_later_is_used_from_then_on() {
    let Some(world) = World::with_broker_away().await else { return };
    let things = things(5);
    let process = world.process();
    world.emit(&things, 0..5).await;
    world.settled(25).await;
    let shown =
        world.texts("select concat_ws(' ', event_lane, (event_lane_reason <> '')::text) from workers").await;
    assert_eq!(shown, ["postgres true"]);
    world.proxy().restore();
    until("the relay takes the broker's lane", || async {
        world.texts("select coalesce(event_lane, '') from workers").await == ["amqp"]
    })
    .await;
    world.emit(&things, 5..10).await;
    world.settled(50).await;
    world.assert_in_order(&things, 0..10).await;
    assert_eq!(lane_of(&world, things[0], 9).await, ["amqp"]);
    process.stop().await;
}

/// Published, not yet consumed, and then the broker is gone: later events must not overtake them, nor wait for it.
#[tokio::test]
async fn what_is_stuck_in_a_lost_broker_is_handed_over_first() {
    let Some(world) = World::new(Lane::Amqp).await else { return };
    let things = things(6);
    let relay = world.relay_only();
    world.emit(&things, 0..4).await;
    until("the broker has them", || async {
        world.db.count("select count(*) as n from event_log where lane = 'amqp'").await == 24
    })
    .await;
    assert_eq!(world.names().waiting(&world.names().queues[0]).await, Some(24));
    world.proxy().cut();
    let process = world.process();
    world.emit(&things, 4..8).await;
    world.settled(48).await;
    world.assert_in_order(&things, 0..8).await;
    assert_eq!(world.texts("select distinct lane from inbox").await, ["postgres"]);
    // The broker's copies come when it is back, and are known.
    world.proxy().restore();
    world.emit(&things, 8..10).await;
    world.settled(60).await;
    until("the broker's queue is empty", || async {
        world.names().waiting(&world.names().queues[0]).await == Some(0)
    })
    .await;
    world.settled(60).await;
    world.assert_in_order(&things, 0..10).await;
    process.stop().await;
    relay.stop().await;
}

/// An event that failed waits as a job; the next one of its aggregate comes by the broker and waits behind it.
#[tokio::test]
async fn an_event_does_not_overtake_a_parked_one() {
    let Some(mut world) = World::new(Lane::Amqp).await else { return };
    world.config.policy.backoff = std::time::Duration::from_millis(400);
    world.config.policy.backoff_cap = std::time::Duration::from_millis(400);
    let things = things(3);
    world.recorder.script.lock().unwrap().failures.insert((things[0], 0), 3);
    let process = world.process();
    world.emit(&things, 0..1).await;
    until("it is parked", || async {
        world.db.count("select count(*) as n from jobs where attempt = 1 and state = 'scheduled'").await == 1
    })
    .await;
    world.emit(&things, 1..4).await;
    world.settled(12).await;
    world.assert_in_order(&things, 0..4).await;
    for n in 1..4 {
        assert_eq!(lane_of(&world, things[1], n).await, ["amqp"], "others are not held up");
    }
    process.stop().await;
}

/// The effect is durable, the acknowledgement never arrives: the message comes again and is known.
#[tokio::test]
async fn an_acknowledgement_lost_on_the_way_repeats_nothing() {
    let Some(mut world) = World::new(Lane::Amqp).await else { return };
    // Nothing may take the events over to Postgres meanwhile.
    world.config.down_after = std::time::Duration::from_mins(1);
    let things = things(10);
    let process = world.process();
    world.recorder.hold();
    world.emit(&things, 0..1).await;
    world.recorder.begun_more_than(0).await;
    world.proxy().cut();
    world.recorder.release();
    until("the effect is durable", || async {
        world.db.count("select count(*) as n from recorded").await > 0
    })
    .await;
    world.proxy().restore();
    world.emit(&things, 1..3).await;
    world.settled(30).await;
    world.assert_in_order(&things, 0..3).await;
    let queue = world.names().queues[0].clone();
    until("all is acknowledged", || async { world.names().waiting(&queue).await == Some(0) }).await;
    assert_eq!(world.texts("select distinct lane from inbox").await, ["amqp"]);
    process.stop().await;
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_declared_again() {
    let Some(world) = World::new(Lane::Amqp).await else { return };
    let things = things(5);
    let process = world.process();
    world.emit(&things, 0..2).await;
    world.settled(10).await;
    world.names().delete_queue(&world.names().queues[0]).await;
    world.emit(&things, 2..6).await;
    world.settled(30).await;
    world.assert_in_order(&things, 0..6).await;
    process.stop().await;
}

/// A message that kills its consumers again and again is given up by the broker and becomes a job.
#[tokio::test]
async fn what_the_broker_gives_up_becomes_a_job() {
    let Some(mut world) = World::new(Lane::Amqp).await else { return };
    world.config.down_after = std::time::Duration::from_mins(1);
    let things = things(1);
    world.recorder.hold();
    world.emit(&things, 0..1).await;
    // The limit is five deliveries; the sixth time it goes to the dead queue.
    let mut begun = 0;
    for _ in 0..6 {
        let process = world.process();
        world.recorder.begun_more_than(begun).await;
        begun = *world.recorder.begun.borrow();
        process.kill();
    }
    world.recorder.release();
    let process = world.process();
    world.settled(1).await;
    let how = world.texts("select failures->0->>'error' from job_history").await;
    assert_eq!(how, ["the broker gave it up: delivery_limit"]);
    process.stop().await;
}

/// A pipeline of another process is served too, and its events wait at the broker while it is away.
#[tokio::test]
async fn each_pipeline_gets_each_event() {
    let Some(world) = World::new(Lane::Amqp).await else { return };
    let things = things(5);
    let second = Recorder::new("second", 50);
    let process = world.process_with(vec![world.recorder.clone(), second.clone()]);
    world.emit(&things, 0..4).await;
    world.settled(40).await;
    for pipeline in ["recorder", "second"] {
        let order = world
            .texts(&format!(
                "select string_agg(n::text, ',' order by place) from recorded where pipeline = '{pipeline}' group by thing"
            ))
            .await;
        assert_eq!(order, vec!["0,1,2,3"; 5]);
    }
    process.stop().await;
}

/// A relay that is gone leaves its shards to the others at once, and two relays share them.
#[tokio::test]
async fn relays_share_the_shards() {
    let Some(world) = World::new(Lane::Postgres).await else { return };
    let held = "select count(*) as n from pg_locks where locktype = 'advisory' and objid < 16 and objsubid = 2 and granted
                and database = (select oid from pg_database where datname = current_database())";
    let holders = "select count(distinct pid) as n from pg_locks where locktype = 'advisory' and objid < 16 and objsubid = 2
                   and granted and database = (select oid from pg_database where datname = current_database())";
    let first = world.process();
    until("the first has all", || async { world.db.count(held).await == 16 }).await;
    let second = world.process();
    until("both have some", || async {
        world.db.count(holders).await == 2 && world.db.count(held).await == 16
    })
    .await;
    first.kill();
    until("the second has all", || async {
        world.db.count(holders).await == 1 && world.db.count(held).await == 16
    })
    .await;
    let things = things(20);
    world.emit(&things, 0..2).await;
    world.settled(40).await;
    second.stop().await;
}
