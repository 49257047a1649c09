//! What the gateway tells by webhook: late, twice, out of order, and about orders that are no more.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_jobs::testing::Ran;
use waybill_jobs::{enqueue, kinds::HandleGatewayEvent};
use waybill_platform::Config;
use waybill_schema::payments::gateway_events::{NewGatewayEvent, insert};
use waybill_schema::system::controls;
use waybill_workers::payments::{
    Answer, Authorize, Capture, EventError, Fact, Gateway, GatewayError, Operation, Refund, Sandbox, Void,
};

use crate::fake_gateway::{FakeGateway, Fault, On};
use crate::world::{Settings, World};

/// The gateway in memory, whose webhooks are those of the sandbox.
struct Telling {
    fake: FakeGateway,
    reader: Arc<Sandbox>,
}

#[async_trait]
impl Gateway for Telling {
    fn name(&self) -> &'static str {
        "sandbox"
    }
    async fn authorize(&self, key: &str, request: &Authorize) -> Result<Answer, GatewayError> {
        self.fake.authorize(key, request).await
    }
    async fn capture(&self, key: &str, request: &Capture) -> Result<Answer, GatewayError> {
        self.fake.capture(key, request).await
    }
    async fn void(&self, key: &str, request: &Void) -> Result<Answer, GatewayError> {
        self.fake.void(key, request).await
    }
    async fn refund(&self, key: &str, request: &Refund) -> Result<Answer, GatewayError> {
        self.fake.refund(key, request).await
    }
    async fn lookup(&self, key: &str, operation: Operation) -> Result<Option<Answer>, GatewayError> {
        self.fake.lookup(key, operation).await
    }
    fn read_event(&self, payload: &Value) -> Result<Fact, EventError> {
        self.reader.read_event(payload)
    }
}

async fn world() -> World {
    let config = Config::from_variables([("DATABASE_URL", "postgres://nobody@127.0.0.1/nothing")]).unwrap();
    let reader = Arc::new(Sandbox::new(&config.payments.sandbox).unwrap());
    let fake = FakeGateway::default();
    World::at(Settings::default(), Telling { fake: fake.clone(), reader }, fake).await
}

/// Stores an event as the API does and runs its job; none if it came before.
async fn tell(world: &World, id: &str, kind: &str, data: Value) -> Option<Ran> {
    let payload = json!({ "id": id, "type": kind, "created_at": "2026-11-21T00:00:00Z", "data": data });
    let job = {
        let mut conn = world.db.conn().await;
        let event =
            NewGatewayEvent { gateway: "sandbox", event_id: id, kind, payload: &payload, order_id: None };
        if !insert(&mut conn, &event).await.unwrap() {
            return None;
        }
        let job = HandleGatewayEvent { gateway: "sandbox".into(), event_id: id.into(), order_id: None };
        enqueue(&conn, &job).await.unwrap()
    };
    Some(world.run(job).await)
}

async fn outcome(world: &World, id: &str) -> String {
    world.word(&format!("select outcome as word from gateway_events where event_id = '{id}'")).await.unwrap()
}

fn authorization(order: Uuid, id: &str) -> Value {
    json!({ "id": id, "status": "authorized", "amount": "2.50", "currency": "GBP", "reference": order })
}

fn capture(order: Uuid, authorization: &str, id: &str) -> Value {
    json!({ "id": id, "authorization_id": authorization, "amount": "2.50", "currency": "GBP", "reference": order })
}

#[tokio::test]
async fn what_we_know_already_changes_nothing_whenever_it_comes() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.run(job).await;
    let refs =
        world.word("select authorization_ref || ' ' || capture_ref as word from payments").await.unwrap();
    let (auth, cap) = refs.split_once(' ').unwrap();
    let before = world.number("select version as number from payments").await;
    tell(&world, "evt_2", "capture.succeeded", capture(order, auth, cap)).await.unwrap();
    tell(&world, "evt_1", "authorization.succeeded", authorization(order, auth)).await.unwrap();
    assert!(tell(&world, "evt_1", "authorization.succeeded", authorization(order, auth)).await.is_none());
    assert_eq!(
        (outcome(&world, "evt_1").await, outcome(&world, "evt_2").await),
        ("known".into(), "known".into())
    );
    assert_eq!(world.number("select version as number from payments").await, before);
    world.assert_settled().await;
}

#[tokio::test]
async fn events_that_overtake_the_answer_are_believed_and_the_saga_goes_on() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Lose), (On::Lookup, Fault::Down)]);
    assert_eq!(world.run(job).await.outcome, "snoozed");
    // The gateway's own id of it, which we have not been told.
    let auth = world.gateway.hold_ids().pop().unwrap();
    tell(&world, "evt_1", "authorization.succeeded", authorization(order, &auth)).await.unwrap();
    assert_eq!(outcome(&world, "evt_1").await, "recorded");
    assert_eq!(world.seen(order).await.payment, "authorized");
    assert_eq!(world.seen(order).await.step, "reserved", "the saga moves the order, not the event");

    world.gateway.script(&[(On::Capture, Fault::Lose), (On::Lookup, Fault::Down)]);
    // The first question finds the authorization, the second, after the capture, gets no answer.
    world.gateway.behave_for_one_lookup();
    assert_eq!(world.run(job).await.outcome, "snoozed");
    let cap = world.gateway.capture_ids().pop().unwrap();
    tell(&world, "evt_2", "capture.succeeded", capture(order, &auth, &cap)).await.unwrap();
    assert_eq!(outcome(&world, "evt_2").await, "recorded");
    assert_eq!(world.run(job).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!((seen.status.as_str(), seen.payment.as_str()), ("confirmed", "captured"));
    assert_eq!(world.gateway.calls(On::Capture), 1);
    world.assert_settled().await;
}

#[tokio::test]
async fn money_that_moved_without_us_is_given_back() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Down)]);
    world.run(job).await;
    let auth = world.gateway.hold_behind_our_back(&order.to_string(), "2.50");
    let cap = world.gateway.capture_behind_our_back(&auth);
    tell(&world, "evt_1", "capture.succeeded", capture(order, &auth, &cap)).await.unwrap();
    assert_eq!(world.run_to_end(job, 3).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!((seen.status.as_str(), seen.payment.as_str()), ("cancelled", "refunded"));
    assert_eq!(seen.reason.as_deref(), Some("the payment was captured at the gateway"));
    world.assert_settled().await;
}

#[tokio::test]
async fn a_hold_that_was_let_go_at_the_gateway_ends_the_order() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Capture, Fault::Down)]);
    world.run(job).await;
    let auth = world.gateway.hold_ids().pop().unwrap();
    world.gateway.void_behind_our_back(&auth);
    tell(&world, "evt_1", "authorization.voided", authorization(order, &auth)).await.unwrap();
    assert_eq!(world.run_to_end(job, 3).await.outcome, "done");
    let seen = world.seen(order).await;
    assert_eq!((seen.reason_code.as_deref(), seen.payment.as_str()), (Some("payment_failed"), "voided"));
    world.assert_settled().await;
}

#[tokio::test]
async fn a_capture_told_before_the_authorization_is_recorded_once() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Down)]);
    world.run(job).await;
    tell(&world, "evt_2", "capture.succeeded", capture(order, "auth_x", "cap_x")).await.unwrap();
    tell(&world, "evt_1", "authorization.succeeded", authorization(order, "auth_x")).await.unwrap();
    assert_eq!(
        (outcome(&world, "evt_2").await, outcome(&world, "evt_1").await),
        ("recorded".into(), "known".into())
    );
    assert_eq!(world.seen(order).await.payment, "captured");
    world.assert_sound().await;
}

#[tokio::test]
async fn contradictions_are_marked_and_change_nothing() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order_with("tok_declined", &[(&cup, 1)]).await;
    world.run(job).await;
    tell(&world, "evt_1", "capture.succeeded", capture(order, "auth_x", "cap_x")).await.unwrap();
    tell(&world, "evt_2", "capture.succeeded", capture(Uuid::nil(), "auth_x", "cap_x")).await.unwrap();
    tell(&world, "evt_3", "capture.succeeded", json!({ "id": "cap_x" })).await.unwrap();
    tell(&world, "evt_4", "payout.paid", json!({ "id": "po_1" })).await.unwrap();
    let outcomes = world
        .word("select string_agg(outcome, ' ' order by event_id) as word from gateway_events")
        .await
        .unwrap();
    assert_eq!(outcomes, "conflict unknown_payment unreadable ignored");
    assert_eq!(world.seen(order).await.payment, "declined");
    world.assert_settled().await;
}

#[tokio::test]
async fn a_hold_that_comes_to_light_after_the_cancellation_is_let_go() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.gateway.script(&[(On::Authorize, Fault::Down)]);
    world.run(job).await;
    world.db.execute("update orders set reserved_until = now() - interval '1 second'").await;
    world.run(job).await;
    assert_eq!(world.seen(order).await.status, "cancelled");
    // The request arrives after all.
    let late = world.gateway.hold_behind_our_back(&order.to_string(), "2.50");
    let rest = std::time::Duration::from_hours(1);
    controls::dependency_down(&mut *world.db.conn().await, "gateway.sandbox", rest, "").await.unwrap();
    let ran = tell(&world, "evt_1", "authorization.succeeded", authorization(order, &late)).await.unwrap();
    assert_eq!(ran.outcome, "snoozed");
    let held = "select count(*) as number from jobs where hold = 'needs:gateway.sandbox' and attempt = 0";
    assert_eq!((world.number(held).await, world.gateway.calls(On::Void)), (1, 0));
    controls::dependency_up(&mut *world.db.conn().await, "gateway.sandbox").await.unwrap();
    world.gateway.script(&[(On::Void, Fault::Lose)]);
    assert_eq!(world.run(ran.id).await.outcome, "done");
    assert_eq!(outcome(&world, "evt_1").await, "let_go");
    assert!(world.gateway.holds(&order.to_string())[0].voided);
    assert_eq!(world.seen(order).await.payment, "voided");
    world.assert_settled().await;
}

#[tokio::test]
async fn refunds_made_elsewhere_add_up() {
    let world = world().await;
    let cup = world.variant("CUP", "2.50", 5).await;
    let (order, job) = world.order(&[(&cup, 1)]).await;
    world.run(job).await;
    let auth = world.gateway.hold_ids().pop().unwrap();
    let refund = |id: &str, amount: &str| json!({ "id": id, "authorization_id": auth, "amount": amount, "currency": "GBP", "reference": order });
    tell(&world, "evt_1", "refund.succeeded", refund("re_1", "1.00")).await.unwrap();
    assert_eq!(world.seen(order).await.payment, "partially_refunded");
    tell(&world, "evt_2", "refund.succeeded", refund("re_2", "1.50")).await.unwrap();
    assert_eq!(world.seen(order).await.payment, "refunded");
    tell(&world, "evt_3", "refund.succeeded", refund("re_3", "0.01")).await.unwrap();
    assert_eq!(outcome(&world, "evt_3").await, "known");
}
