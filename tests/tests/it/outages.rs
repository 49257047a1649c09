//! The broker and the database going away and coming back, under load.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use futures::future::{join, try_join_all};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_tests::{
    Plan, System,
    client::reply,
    receiver::{OPEN, Receiver},
    scratch::Node,
    shop::checkout,
    until,
};

/// Places orders one after the other.
async fn buy(system: &System, orders: usize) -> anyhow::Result<Vec<Value>> {
    let mut placed = Vec::new();
    for number in 0..orders {
        let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
        body["email"] = json!(format!("buyer-{number}@example.com"));
        placed.push(system.place(&system.anybody, &body).await?);
    }
    Ok(placed)
}

/// Events of orders by the lane that took them.
fn by_lane(lane: &str) -> String {
    format!("select count(*) as n from event_log where topic like 'order.%' and lane = '{lane}'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_and_comes_back_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let node = Node::start("rabbitmq").await?;
    let plan = Plan {
        broker: Some(node.url.clone()),
        ..Plan::with(&[("WAYBILL_BROKER__DOWN_AFTER", "500ms")]).workers(2)
    };
    let system = System::start(plan).await?;
    system.sell("MUG-1", "7.65", 1_000).await?;
    let receiver = Receiver::start(&[], OPEN).await?;
    system.tell(&receiver.url, &["order.placed", "order.confirmed"]).await?;

    let mut orders = buy(&system, 5).await?;
    system.confirmed(&orders).await?;
    until("events on the broker's lane", async || {
        let on_it = system.count(&by_lane("amqp")).await?;
        Ok(if on_it > 0 { Ok(()) } else { Err(system.logs()) })
    })
    .await?;

    // It goes while orders come in, and more come while it is away.
    let (stopped, placed) = join(node.control("stop"), buy(&system, 20)).await;
    stopped?;
    orders.extend(placed?);
    orders.extend(buy(&system, 20).await?);
    system.confirmed(&orders).await?;
    // Everything that was to be done for them is done: mails too, whichever lane their events had taken before.
    system.at_rest().await?;
    ensure!(system.count(&by_lane("postgres")).await? > 0, "the broker is away");
    receiver.until("order.placed", 45).await?;
    receiver.until("order.confirmed", 45).await?;

    node.control("start").await?;
    let elsewhere = "select count(*) as n from workers where event_lane is distinct from 'amqp'";
    system.until_count("the relays to return to the broker", elsewhere, 0).await?;
    let before = system.count(&by_lane("amqp")).await?;
    orders.extend(buy(&system, 5).await?);
    system.confirmed(&orders).await?;
    system.at_rest().await?;
    receiver.until("order.placed", 50).await?;
    receiver.until("order.confirmed", 50).await?;
    ensure!(system.count(&by_lane("amqp")).await? >= before + 10, "five orders are ten events");

    let unhandled = "select count(*) as n from event_log e, unnest(e.pipelines) p
                     where not exists (select from inbox i where i.pipeline = p and i.event_id = e.id)";
    system.until_count("every event to be handled by each of its pipelines", unhandled, 0).await?;
    let doubled =
        "select count(*) as n from (select from inbox group by pipeline, event_id having count(*) > 1) t";
    ensure!(system.count(doubled).await? == 0, "handled twice");
    let mails = "select count(*) as n from mails where template = 'order_confirmed' and status = 'sent'";
    ensure!(system.count(mails).await? == 50);
    ensure!(receiver.ids("order.placed").len() == 50 && receiver.ids("order.confirmed").len() == 50);
    ensure!(system.gateway_summary().await?["captures"] == 50);
    Ok(())
}

/// One buyer, who sends the same order until it is accepted, and what the answers were until then.
async fn insist(system: &System, number: usize) -> anyhow::Result<(Value, Vec<StatusCode>)> {
    let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
    body["email"] = json!(format!("buyer-{number}@example.com"));
    let mut refused = Vec::new();
    let order = until("the order to be accepted", async || {
        let request = system.anybody.request(Method::POST, "/v1/checkout").json(&body);
        let reply = reply(request.header("idempotency-key", format!("order-{number}"))).await?;
        Ok(if reply.status == StatusCode::ACCEPTED {
            Ok(reply.body)
        } else {
            ensure!(reply.body["code"].is_string(), "no problem but {reply:?}");
            refused.push(reply.status);
            Err(format!("{} {}", reply.status, reply.body))
        })
    })
    .await?;
    Ok((order, refused))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_restarted_under_load_loses_and_doubles_nothing() -> anyhow::Result<()> {
    const BUYERS: usize = 8;
    let node = Node::start("postgres").await?;
    let plan = Plan { database: Some(node.url.clone()), ..Plan::default().workers(2) };
    let mut system = System::start(plan).await?;
    system.sell("MUG-1", "7.65", 100_000).await?;

    let enough = AtomicBool::new(false);
    let load = try_join_all((0..BUYERS).map(|buyer| {
        let (system, enough) = (&system, &enough);
        async move {
            let (mut orders, mut refused) = (Vec::new(), Vec::new());
            while !enough.load(Ordering::Relaxed) {
                let (order, codes) = insist(system, buyer + BUYERS * orders.len()).await?;
                orders.push(order);
                refused.extend(codes);
            }
            anyhow::Ok((orders, refused))
        }
    }));
    let outage = async {
        let confirmed =
            |n: i64| format!("select least(count(*), {n}) as n from orders where status = 'confirmed'");
        let outcome = async {
            system.until_count("the first orders", &confirmed(20), 20).await?;
            node.control("stop").await?;
            node.control("start").await?;
            let so_far = until("the database to answer", async || {
                let n = system.count("select count(*) as n from orders where status = 'confirmed'").await;
                Ok(n.map_err(|error| error.to_string()))
            })
            .await?;
            system.until_count("orders after the restart", &confirmed(so_far + 20), so_far + 20).await
        }
        .await;
        enough.store(true, Ordering::Relaxed);
        outcome
    };
    let (load, outage) = join(load, outage).await;
    outage?;
    let (mut orders, mut refused) = (Vec::new(), Vec::new());
    for (placed, codes) in load.with_context(|| system.logs())? {
        orders.extend(placed);
        refused.extend(codes);
    }
    println!("{} orders over the restart, {} refusals", orders.len(), refused.len());
    for status in &refused {
        // Conflict: the key is still held by a request that waits for the database.
        let known =
            [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::CONFLICT];
        ensure!(known.contains(status), "{status}");
    }

    system.confirmed(&orders).await?;
    system.at_rest().await?;
    let placed = i64::try_from(orders.len())?;
    ensure!(
        system.count("select count(*) as n from orders").await? == placed,
        "an order was lost or doubled"
    );
    ensure!(system.stock("MUG-1").await? == (100_000 - placed, 0));
    ensure!(system.gateway_summary().await?["captures"] == placed);
    let mails = "select count(*) as n from mails where template = 'order_confirmed' and status = 'sent'";
    ensure!(system.count(mails).await? == placed);
    for process in system.workers.iter_mut().chain([&mut system.scheduler, &mut system.api]) {
        ensure!(!process.has_ended()?, "{} did not survive:\n{}", process.name, process.log());
    }
    Ok(())
}
