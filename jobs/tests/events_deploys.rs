//! An old and a new release side by side: what only the new one reads is kept for it, whoever of them meets it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events_support;

use std::{sync::Arc, time::Duration};

use events_support::{
    Lane, World,
    process::Process,
    recorder::{Added, Changed, ChangedMore, Newer},
    world::things,
};
use uuid::Uuid;
use waybill_jobs::{Event, emit_all, testing::until};

const ROUTE: &str =
    "select count(*) as n from event_routes where topic = 'thing.added' and pipeline = 'recorder'";

fn newer(world: &World) -> Process {
    world.process_of(Arc::new(Newer))
}

/// A new release that came and went again: all that it has left is what it said at its start.
async fn tried(world: &World) {
    let new = newer(world);
    until("the new release has said what it wants", || async { world.db.count(ROUTE).await == 1 }).await;
    new.kill();
}

async fn emit<E: Event>(world: &World, things: &[Uuid], event: impl Fn(Uuid) -> E) {
    let events: Vec<E> = things.iter().map(|thing| event(*thing)).collect();
    emit_all(&*world.db.conn().await, &events, None).await.unwrap();
}

async fn emit_all_sorts(world: &World, things: &[Uuid]) {
    emit(world, things, |thing| Changed { thing, n: 0 }).await;
    emit(world, things, |thing| Added { thing, n: 1 }).await;
    emit(world, things, |thing| ChangedMore { thing, n: 2 }).await;
    emit(world, things, |thing| Changed { thing, n: 3 }).await;
}

async fn an_old_release_keeps_what_only_a_new_one_reads(lane: Lane) {
    let Some(mut world) = World::new(lane).await else { return };
    // However long a busy machine takes to connect, the lane is the one that is meant.
    world.config.down_after = Duration::from_mins(1);
    let things = things(5);
    tried(&world).await;
    let old = world.process();
    emit_all_sorts(&world, &things).await;
    // One of each thing is met and put aside; the others wait behind it.
    let aside = "select count(*) as n from jobs where queue = 'events.recorder' and state = 'scheduled' and snoozes > 0
                 and attempt = 0 and payload->>'topic' = 'thing.added'";
    until("the old one has put them aside", || async { world.db.count(aside).await == 5 }).await;
    until("the others wait behind them", || async {
        world.db.count("select count(*) as n from jobs where queue = 'events.recorder'").await == 15
    })
    .await;
    world.assert_in_order(&things, 0..1).await;
    let handed = "select distinct lane || ' ' || pipelines::text from event_log where topic = 'thing.added'";
    let expected = [format!("{} {{recorder}}", lane.as_str())];
    // The relay writes the log after the broker's confirm, so the jobs may be there first.
    until("it was handed to its pipeline", || async { world.texts(handed).await == expected }).await;
    old.stop().await;

    let new = newer(&world);
    until("the new one has taken them", || async {
        world.db.execute("update jobs set run_at = now() where state = 'scheduled'").await;
        world.left().await == 0
    })
    .await;
    world.settled(20).await;
    world.assert_in_order(&things, 0..4).await;
    assert_eq!(world.db.count("select count(*) as n from dead_letters").await, 0);
    assert_eq!(world.texts("select distinct attempt from job_history").await, ["1"]);
    new.stop().await;
}

#[tokio::test]
async fn an_old_release_keeps_what_only_a_new_one_reads_on_the_brokers_lane() {
    an_old_release_keeps_what_only_a_new_one_reads(Lane::Amqp).await;
}

#[tokio::test]
async fn an_old_release_keeps_what_only_a_new_one_reads_on_postgres() {
    an_old_release_keeps_what_only_a_new_one_reads(Lane::Postgres).await;
}

/// Both at once, on the broker's lane: whichever is the active consumer, whichever relays.
#[tokio::test]
async fn both_releases_share_the_work() {
    let Some(world) = World::new(Lane::Amqp).await else { return };
    let things = things(10);
    let (old, new) = (world.process(), newer(&world));
    until("the new release has said what it wants", || async { world.db.count(ROUTE).await == 1 }).await;
    emit_all_sorts(&world, &things).await;
    until("all is handled", || async {
        world.db.execute("update jobs set run_at = now() where state = 'scheduled'").await;
        world.left().await == 0
    })
    .await;
    world.settled(40).await;
    world.assert_in_order(&things, 0..4).await;
    old.stop().await;
    new.stop().await;
}

/// A topic that the pipeline has given up: its queue is still bound to it, and nobody declares it any more.
#[tokio::test]
async fn what_no_release_wants_any_more_is_ignored_at_the_broker() {
    let Some(world) = World::new(Lane::Amqp).await else { return };
    let things = things(3);
    let new = newer(&world);
    emit(&world, &things, |thing| Added { thing, n: 0 }).await;
    world.settled(3).await;
    new.stop().await;
    world
        .db
        .execute(
            "update event_routes set declared_at = now() - interval '25 hours' where topic = 'thing.added'",
        )
        .await;
    let old = world.process();
    until("the old release has forgotten the route", || async { world.db.count(ROUTE).await == 0 }).await;
    emit(&world, &things, |thing| Added { thing, n: 1 }).await;
    emit(&world, &things, |thing| Changed { thing, n: 1 }).await;
    world.settled(6).await;
    let queue = world.names().queues[0].clone();
    until("the queue is empty", || async { world.names().waiting(&queue).await == Some(0) }).await;
    assert_eq!(world.db.count("select count(*) as n from jobs").await, 0);
    world.assert_in_order(&things, 0..2).await;
    old.stop().await;
}

/// A job is a promise: one that nobody will keep is shown to people.
#[tokio::test]
async fn a_job_of_a_topic_that_was_given_up_is_a_dead_letter() {
    let world = World::new(Lane::Postgres).await.unwrap();
    tried(&world).await;
    let relay = world.relay_only();
    emit(&world, &things(2), |thing| Added { thing, n: 0 }).await;
    until("they are jobs", || async { world.db.count("select count(*) as n from jobs").await == 2 }).await;
    relay.stop().await;
    world.db.execute("delete from event_routes where topic = 'thing.added'").await;
    let old = world.process();
    let dead = "select count(*) as n from dead_letters
                where failures::text like '%no release has said for a day%thing.added%'";
    until("they are dead letters", || async { world.db.count(dead).await == 2 }).await;
    old.stop().await;
}
