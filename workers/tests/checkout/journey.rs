//! An order without trouble.
#![allow(clippy::unwrap_used)]

use crate::fake_gateway::On;
use crate::world::{Settings, World};

#[tokio::test]
async fn an_order_is_reserved_paid_sold_and_confirmed() {
    let world = World::new().await;
    let (cup, plate) =
        (world.variant("CUP", "2.5000", 10).await, world.variant("PLATE", "0.0125", 100).await);
    // A SKU may stand in several lines.
    let (order, job) = world.order(&[(&cup, 3), (&plate, 60), (&cup, 1)]).await;

    let ran = world.run(job).await;

    assert_eq!((ran.outcome, ran.error), ("done", None));
    let seen = world.seen(order).await;
    assert_eq!(
        (seen.status.as_str(), seen.step.as_str(), seen.payment.as_str()),
        ("confirmed", "completed", "captured")
    );
    assert_eq!(seen.history, "accepted reserved authorized captured completed");
    assert_eq!(world.level(&cup).await, (6, 0));
    assert_eq!(world.level(&plate).await, (40, 0));
    assert_eq!((world.gateway.calls(On::Authorize), world.gateway.calls(On::Capture)), (1, 1));
    assert_eq!(world.gateway.calls(On::Lookup), 0, "nothing was in doubt");
    let hold = world.gateway.holds(&order.to_string()).pop().unwrap();
    assert_eq!(hold.captured.to_string(), "10.75");
    let effects = world
        .word("select string_agg(kind || ':' || state || ':' || jsonb_array_length(calls), ' ' order by kind) as word from effects")
        .await;
    assert_eq!(effects.unwrap(), "authorize:succeeded:1 capture:succeeded:1");
    assert_eq!(world.topics().await, "order.confirmed");
    let line = world.word("select payload -> 'lines' ->> 1 as word from outbox").await.unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&line).unwrap(),
        serde_json::json!({ "sku": "PLATE", "name": "Thing PLATE", "quantity": 60, "unit_price": "0.0125", "total": "0.75" })
    );
    world.assert_settled().await;
}

#[tokio::test]
async fn it_takes_three_commits() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 10).await;
    let (_, warm_up) = world.order(&[(&cup, 1)]).await;
    world.run(warm_up).await;
    let (_, job) = world.order(&[(&cup, 1)]).await;
    let rows = "select count(distinct xmin::text) as number from (
        select xmin from effects where key like '%' || (select order_id::text from order_history order by at desc limit 1) || '%'
        union all select xmin from order_history where order_id = (select order_id from order_history order by at desc limit 1)
                  and step <> 'accepted') t";
    world.run(job).await;
    // Every transaction leaves a row of its own in the history; what was announced and answered came with those.
    assert_eq!(world.number(rows).await, 3);
}

#[tokio::test]
async fn an_order_that_costs_nothing_needs_no_gateway() {
    let world = World::new().await;
    let sample = world.variant("SAMPLE", "0", 1).await;
    let (order, job) = world.order(&[(&sample, 1)]).await;
    assert_eq!(world.run(job).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!((seen.status.as_str(), seen.payment.as_str()), ("confirmed", "captured"));
    assert_eq!(seen.history, "accepted reserved authorized captured completed");
    assert_eq!(world.gateway.calls(On::Authorize), 0);
    assert_eq!(world.topics().await, "stock.depleted order.confirmed");
    world.assert_settled().await;
}

#[tokio::test]
async fn the_location_with_the_best_priority_serves_what_it_has_whole() {
    let world = World::with(Settings::default()).await;
    let near = "00000000-0000-7000-8000-00000000000a";
    world
        .db
        .execute(&format!(
            "insert into locations (id, code, name, priority) values ('{near}', 'near', 'Near', -1)"
        ))
        .await;
    let cup = world.variant("CUP", "2.50", 10).await;
    world.stock(&cup, near, 2).await;
    for (quantity, left_near) in [(2, 0), (3, 0)] {
        let (_, job) = world.order(&[(&cup, quantity)]).await;
        assert_eq!(world.run(job).await.outcome, "done");
        let level =
            format!("select on_hand::bigint as number from stock_levels where location_id = '{near}'");
        assert_eq!(world.number(&level).await, left_near);
    }
    assert_eq!(world.level(&cup).await, (7, 0));
    assert_eq!(world.topics().await, "order.confirmed order.confirmed", "there is stock elsewhere");
    world.assert_settled().await;
}

#[tokio::test]
async fn running_a_finished_order_again_changes_nothing() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 10).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.run(job).await;
    let again = world.enqueue(order).await;
    assert_eq!(world.run(again).await.outcome, "done");
    assert_eq!(world.gateway.calls(On::Capture), 1);
    world.assert_settled().await;
}
