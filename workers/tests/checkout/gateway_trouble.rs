//! Lost answers, silence, errors and outages: asked, never charged twice.
#![allow(clippy::unwrap_used)]

use crate::fake_gateway::{Fault, On};
use crate::world::World;

async fn confirmed_after(faults: &[(On, Fault)], attempts: usize) -> World {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 2)]).await;
    world.gateway.script(faults);
    assert_eq!(world.run_to_end(job, attempts).await.outcome, "done", "{faults:?}");
    assert_eq!(world.seen(order).await.status, "confirmed", "{faults:?}");
    world.assert_settled().await;
    world
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_in_the_same_attempt() {
    let world = confirmed_after(&[(On::Authorize, Fault::Lose), (On::Capture, Fault::Lose)], 1).await;
    assert_eq!((world.gateway.calls(On::Authorize), world.gateway.calls(On::Capture)), (1, 1));
    assert_eq!(world.gateway.calls(On::Lookup), 2);
    let calls = world
        .word(
            "select string_agg((c ->> 'ask') || ':' || (c ->> 'outcome'), ' ') as word
               from effects, jsonb_array_elements(calls) c where kind = 'capture'",
        )
        .await;
    assert_eq!(calls.as_deref(), Some("request:unknown lookup:succeeded"));
}

#[tokio::test]
async fn silence_after_the_effect_is_resolved_by_asking() {
    let world =
        confirmed_after(&[(On::Authorize, Fault::DoneThenHang), (On::Capture, Fault::DoneThenHang)], 1).await;
    assert_eq!((world.gateway.calls(On::Authorize), world.gateway.calls(On::Capture)), (1, 1));
}

#[tokio::test]
async fn what_the_gateway_never_heard_of_is_sent_again_with_the_same_key() {
    for fault in [Fault::Hang, Fault::Error500, Fault::Down] {
        let world = confirmed_after(&[(On::Authorize, fault.clone()), (On::Capture, fault)], 4).await;
        assert_eq!(world.gateway.all_holds().len(), 1);
    }
}

#[tokio::test]
async fn a_question_without_an_answer_is_asked_again_before_anything_is_sent() {
    let faults = [(On::Capture, Fault::Lose), (On::Lookup, Fault::Error500), (On::Lookup, Fault::Down)];
    let world = confirmed_after(&faults, 3).await;
    assert_eq!(world.gateway.calls(On::Capture), 1, "the money was never asked for twice");
}

#[tokio::test]
async fn an_outage_is_told_once_and_forgotten_when_it_is_over() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 2)]).await;
    world.gateway.script(&[
        (On::Authorize, Fault::Down),
        (On::Authorize, Fault::Down),
        (On::Authorize, Fault::Down),
    ]);
    for _ in 0..3 {
        assert_eq!(world.run(job).await.outcome, "snoozed");
    }
    let seen = world.seen(order).await;
    assert_eq!(seen.history, "accepted reserved reserved:gateway_unavailable");
    assert_eq!(
        world.number("select attempt::bigint as number from jobs").await,
        0,
        "an outage spends no attempts"
    );
    let delay = world.number("select extract(epoch from run_at - now())::bigint as number from jobs").await;
    assert!((0..=3).contains(&delay), "the third retry comes after about a second, not {delay}");
    assert_eq!(world.run(job).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!((seen.status.as_str(), seen.reason_code), ("confirmed", None));
    world.assert_settled().await;
}

#[tokio::test]
async fn money_that_cannot_be_sent_back_now_is_sent_back_later() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[
        (On::Capture, Fault::Decline),
        (On::Void, Fault::Error500),
        (On::Lookup, Fault::Error500),
        (On::Void, Fault::Lose),
    ]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    let seen = world.seen(order).await;
    assert_eq!((seen.status.as_str(), seen.step.as_str()), ("pending", "compensating"));
    assert_eq!(world.level(&cup).await, (1, 0), "the stock does not wait for the money");
    assert_eq!(world.run_to_end(job, 4).await.outcome, "done");
    assert_eq!(world.seen(order).await.payment, "voided");
    world.assert_settled().await;
}

#[tokio::test]
async fn a_refused_refund_is_for_a_person() {
    let world = World::new().await;
    let cup = world.variant("CUP", "2.50", 1).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    // Taken, but the answer and the question are lost; then time is up.
    world.gateway.script(&[(On::Capture, Fault::Lose), (On::Lookup, Fault::Down)]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    world.db.execute("update orders set reserved_until = now() - interval '1 second'").await;
    world.gateway.script(&[(On::Lookup, Fault::Down), (On::Refund, Fault::Reject)]);
    assert_eq!(world.run_to_end(job, 3).await.outcome, "dead");
    let seen = world.seen(order).await;
    assert_eq!((seen.status.as_str(), seen.step.as_str()), ("pending", "compensating"));
    world.assert_sound().await;
}
