//! Reservations that run out.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::fake_gateway::{Fault, On};
use crate::world::{Settings, World};

const PASSED: &str = "update orders set reserved_until = now() - interval '1 second'";

#[tokio::test]
async fn a_reservation_that_was_never_paid_goes_back() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Down)]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    world.db.execute(PASSED).await;
    assert_eq!(world.run(job).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!(
        (seen.status.as_str(), seen.reason_code.as_deref()),
        ("cancelled", Some("reservation_expired"))
    );
    assert_eq!(seen.reason.as_deref(), Some("the payment gateway did not answer in time"));
    assert_eq!(world.gateway.calls(On::Authorize), 1, "nothing is asked for that is not wanted any more");
    assert_eq!(world.topics().await, "stock.depleted stock.replenished order.cancelled");
    world.assert_settled().await;
}

#[tokio::test]
async fn what_is_held_is_let_go() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Capture, Fault::Down)]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    world.db.execute(PASSED).await;
    assert_eq!(world.run(job).await.outcome, "done");
    assert_eq!(world.seen(order).await.payment, "voided");
    assert!(world.gateway.holds(&order.to_string())[0].voided);
    world.assert_settled().await;
}

#[tokio::test]
async fn what_was_taken_in_time_confirms_the_order_after_all() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Capture, Fault::Lose), (On::Lookup, Fault::Down)]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    world.db.execute(PASSED).await;
    assert_eq!(world.run(job).await.outcome, "done");
    assert_eq!(world.seen(order).await.status, "confirmed");
    world.assert_settled().await;
}

#[tokio::test]
async fn what_was_taken_behind_our_back_is_given_back() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Capture, Fault::Lose), (On::Lookup, Fault::Down), (On::Lookup, Fault::Down)]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    world.db.execute(PASSED).await;
    assert_eq!(world.run_to_end(job, 3).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!(
        (seen.reason_code.as_deref(), seen.payment.as_str()),
        (Some("reservation_expired"), "refunded")
    );
    let hold = &world.gateway.holds(&order.to_string())[0];
    assert_eq!(hold.captured, hold.refunded);
    world.assert_settled().await;
}

#[tokio::test]
async fn an_authorization_of_unknown_fate_is_found_and_let_go() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Lose), (On::Lookup, Fault::Down)]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    world.db.execute(PASSED).await;
    assert_eq!(world.run_to_end(job, 3).await.outcome, "done");
    assert_eq!(world.seen(order).await.payment, "voided");
    assert!(world.gateway.holds(&order.to_string())[0].voided);
    world.assert_settled().await;
}

#[tokio::test]
async fn a_call_that_may_still_be_on_its_way_is_waited_for() {
    let timeout = Duration::from_secs(5);
    let world = World::with(Settings { gateway_timeout: timeout, ..Settings::default() }).await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Error500), (On::Lookup, Fault::Error500)]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    world.db.execute(PASSED).await;
    assert_eq!(world.run(job).await.outcome, "snoozed", "the gateway knows nothing, yet");
    assert_eq!(world.seen(order).await.step, "compensating");
    // Later than the caller would have waited:
    world
        .db
        .execute("update effects set calls = replace(calls::text, to_char(now(), 'YYYY-'), '2020-')::jsonb")
        .await;
    assert_eq!(world.run(job).await.outcome, "done");
    let settled = world.word("select response ->> 'outcome' as word from effects").await;
    assert_eq!(settled.as_deref(), Some("never_arrived"));
    world.assert_settled().await;
}
