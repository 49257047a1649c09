//! Orders that cannot be.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::fake_gateway::{Fault, On};
use crate::world::{Settings, World};

#[tokio::test]
async fn a_declined_card_gives_the_stock_back_in_the_same_transaction() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 3).await;
    let (order, job) = world.order_with("tok_declined", &[(&cup, 3)]).await;
    assert_eq!(world.run(job).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!((seen.status.as_str(), seen.reason_code.as_deref()), ("cancelled", Some("payment_declined")));
    assert_eq!(seen.reason.as_deref(), Some("declined: card declined"));
    assert_eq!(seen.payment, "declined");
    assert_eq!(seen.history, "accepted reserved compensating:payment_declined compensated:payment_declined");
    assert_eq!(world.level(&cup).await, (3, 0));
    assert_eq!(world.topics().await, "stock.depleted stock.replenished order.cancelled");
    let code = world.word("select decline_code as word from payments").await;
    assert_eq!(code.as_deref(), Some("card_declined"));
    world.assert_settled().await;
}

#[tokio::test]
async fn a_gateway_that_refuses_fails_the_payment() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 3).await;
    world.gateway.script(&[(On::Authorize, Fault::Reject)]);
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.run(job).await;
    let seen = world.seen(order).await;
    assert_eq!(
        (seen.status.as_str(), seen.reason_code.as_deref(), seen.payment.as_str()),
        ("cancelled", Some("payment_failed"), "failed")
    );
    world.assert_settled().await;
}

#[tokio::test]
async fn a_refused_capture_lets_the_hold_go() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 3).await;
    world.gateway.script(&[(On::Capture, Fault::Decline)]);
    let (order, job) = world.order(&[(&cup, 1)]).await;
    assert_eq!(world.run(job).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!(
        (seen.status.as_str(), seen.reason_code.as_deref(), seen.payment.as_str()),
        ("cancelled", Some("payment_declined"), "voided")
    );
    assert!(world.gateway.holds(&order.to_string())[0].voided);
    world.assert_settled().await;
}

#[tokio::test]
async fn what_is_not_there_is_refused_before_anybody_is_charged() {
    let world = World::new().await;
    let (cup, plate) = (world.variant("CUP", "2.50", 3).await, world.variant("PLATE", "1", 1).await);
    let (order, job) = world.order(&[(&cup, 1), (&plate, 2)]).await;
    assert_eq!(world.run(job).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!((seen.status.as_str(), seen.reason_code.as_deref()), ("cancelled", Some("out_of_stock")));
    assert_eq!(seen.reason.as_deref(), Some("not enough in stock: PLATE"));
    assert_eq!(seen.payment, "voided");
    assert_eq!(world.gateway.calls(On::Authorize), 0);
    assert_eq!(
        world.number("select count(*) as number from stock_ledger where order_id is not null").await,
        0
    );
    world.assert_settled().await;
}

#[tokio::test]
async fn units_that_others_hold_are_waited_for_and_told_once() {
    let world = World::with(Settings { stock_wait: Duration::from_secs(30), ..Settings::default() }).await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (_, holder) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Down)]);
    assert_eq!(world.run(holder).await.outcome, "snoozed");

    let (order, waiter) = world.order(&[(&cup, 1)]).await;
    for _ in 0..3 {
        assert_eq!(world.run(waiter).await.outcome, "snoozed");
    }
    let seen = world.seen(order).await;
    assert_eq!(seen.history, "accepted accepted:waiting_for_stock");
    assert_eq!(
        world.number(&format!("select attempt::bigint as number from jobs where id = '{waiter}'")).await,
        0
    );

    // The holder fails: the waiter gets the unit.
    world.gateway.script(&[(On::Authorize, Fault::Decline)]);
    assert_eq!(world.run(holder).await.outcome, "done");
    assert_eq!(world.run(waiter).await.outcome, "done");
    assert_eq!(world.seen(order).await.status, "confirmed");
    assert_eq!(world.seen(order).await.reason_code, None);
    world.assert_settled().await;
}

#[tokio::test]
async fn the_wait_for_stock_ends() {
    let world = World::with(Settings { stock_wait: Duration::ZERO, ..Settings::default() }).await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (_, holder) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Down)]);
    world.run(holder).await;
    let (order, waiter) = world.order(&[(&cup, 1)]).await;
    assert_eq!(world.run(waiter).await.outcome, "done");
    assert_eq!(world.seen(order).await.reason_code.as_deref(), Some("out_of_stock"));
    world.run_to_end(holder, 3).await;
    world.assert_settled().await;
}

#[tokio::test]
async fn the_last_attempt_gives_the_stock_back_rather_than_dying_with_it() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Capture, Fault::Down)]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    world.db.execute("update jobs set attempt = max_attempts - 1").await;
    assert_eq!(world.run(job).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!((seen.reason_code.as_deref(), seen.payment.as_str()), (Some("payment_failed"), "voided"));
    world.assert_settled().await;
}
