//! A queue that is none of ours, full, and of the kind that refuses: it must not hold up ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events_support;

use std::{sync::Arc, time::Duration};

use events_support::{
    Lane, World,
    recorder::{Added, Changed, Newer},
    world::things,
};
use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use waybill_jobs::{Event, emit_all, testing::until};

/// A queue for one message, bound to one topic.
async fn bind_a_small_queue(world: &World, name: &str) {
    let (connection, channel) = world.names().channel().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), durable, arguments).await.unwrap();
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    let exchange = world.names().exchange.as_str();
    channel
        .queue_bind(name.into(), exchange.into(), Changed::TOPIC.into(), options, arguments)
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

async fn lanes(world: &World, topic: &str) -> Vec<String> {
    world.texts(&format!("select distinct lane from event_log where topic = '{topic}' order by lane")).await
}

#[tokio::test]
async fn a_full_queue_of_others_sends_its_topic_over_postgres_and_nothing_else() {
    let Some(mut world) = World::new(Lane::Amqp).await else { return };
    // Long enough to connect on a busy machine; as long is the full queue tried.
    world.config.down_after = Duration::from_secs(3);
    let (things, others) = (things(8), things(4));
    let process = world.process_of(Arc::new(Newer));
    world.emit(&things, 0..1).await;
    world.settled(8).await;
    assert_eq!(lanes(&world, Changed::TOPIC).await, ["amqp"]);

    let queue = format!("{}.foreign", world.names().prefix);
    bind_a_small_queue(&world, &queue).await;
    world.emit(&things, 1..20).await;
    // Behind all of them in the outbox.
    for n in 0..5 {
        let added: Vec<Added> = others.iter().map(|thing| Added { thing: *thing, n }).collect();
        emit_all(&*world.db.conn().await, &added, None).await.unwrap();
    }
    // Of one aggregate both topics, so that one overtakes the other if it can.
    for (n, thing) in (20..26).zip(std::iter::repeat(things[0])) {
        if n % 2 == 0 {
            emit_all(&*world.db.conn().await, &[Changed { thing, n }], None).await.unwrap();
        } else {
            emit_all(&*world.db.conn().await, &[Added { thing, n }], None).await.unwrap();
        }
    }
    world.settled(8 * 20 + 20 + 6).await;
    let effects = world.effects().await;
    assert_eq!(effects[&things[0]], (0..26).collect::<Vec<_>>());
    for thing in &things[1..] {
        assert_eq!(effects[thing], (0..20).collect::<Vec<_>>(), "of {thing}");
    }
    for thing in &others {
        assert_eq!(effects[thing], (0..5).collect::<Vec<_>>(), "of {thing}");
    }
    let of_others = world
        .texts(&format!("select distinct lane from event_log where aggregate_id = '{}'", others[0]))
        .await;
    assert_eq!(of_others, ["amqp"], "the topic that nobody refuses stays at the broker");
    assert_eq!(lanes(&world, Changed::TOPIC).await, ["amqp", "postgres"]);
    let shards = "select count(*) as n from event_shards where reason is not null";
    assert_eq!(world.db.count(shards).await, 0, "no shard has left the broker");
    let newest = "select lane from event_log where topic = 'thing.changed' order by seq desc limit 1";
    assert_eq!(world.texts(newest).await, ["postgres"]);

    // The owner has put it right.
    world.names().delete_queue(&queue).await;
    let mut n = 30;
    until("the topic returns to the broker", || {
        n += 1;
        let world = &world;
        let thing = [others[1]];
        async move {
            world.emit(&thing, n..n + 1).await;
            until("it is handled", || async { world.left().await == 0 }).await;
            world.texts(newest).await == ["amqp"]
        }
    })
    .await;
    process.stop().await;
}
