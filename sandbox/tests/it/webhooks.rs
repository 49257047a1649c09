use reqwest::Method;
use serde_json::{Value, json};
use waybill_sandbox::{Config, WebhookSecret};

use crate::support::{
    Gateway, Receiver, SECRET, authorization, eventually, gbp, refunds, start, start_with, voids,
};

/// Waits until nothing is queued and tells what became of it.
async fn settled(gateway: &Gateway) -> Value {
    eventually("all webhooks are sent", async || {
        let status = gateway.webhooks().await;
        (status["pending"] == 0).then_some(status)
    })
    .await
}

#[tokio::test]
async fn every_effect_is_told_signed_and_in_order() {
    let receiver = Receiver::start().await;
    let gateway = start_with(receiver.config()).await;
    let id = gateway.authorize("k1", "9.00", "order-9").await.id();
    let capture = gateway.capture("k2", &id, "9.00").await;
    let refund = gateway.post(&refunds(&capture.id()), "k3", gbp("4.00")).await;
    let told = receiver.wait_for(3).await;
    let kinds: Vec<String> = told.iter().map(crate::support::Received::kind).collect();
    assert_eq!(kinds, ["authorization.succeeded", "capture.succeeded", "refund.succeeded"]);

    let secret: WebhookSecret = SECRET.parse().unwrap();
    for webhook in &told {
        assert_eq!(webhook.json()["id"], webhook.id.as_str());
        assert!(webhook.id.starts_with("evt_"));
        let timestamp: i64 = webhook.timestamp.parse().unwrap();
        assert_eq!(webhook.signature, secret.sign(&webhook.id, timestamp, webhook.body.as_bytes()));
        assert_eq!(webhook.json()["data"]["reference"], "order-9");
    }
    let mut data = told[1].json()["data"].clone();
    data.as_object_mut().unwrap().remove("reference");
    assert_eq!(data, capture.json());
    assert_eq!(told[1].json()["created_at"], capture.json()["created_at"]);
    assert_eq!(told[2].json()["data"]["id"], refund.id().as_str());
    let status = settled(&gateway).await;
    assert_eq!(
        (&status["events"], &status["delivered"], &status["attempts"]),
        (&json!(3), &json!(3), &json!(3))
    );
}

#[tokio::test]
async fn declines_and_voids_are_told_and_refusals_and_replays_are_not() {
    let receiver = Receiver::start().await;
    let gateway = start_with(receiver.config()).await;
    gateway.post("/v1/authorizations", "k1", authorization("1.00", "tok_declined", "o")).await;
    let id = gateway.authorize("k2", "1.00", "o").await.id();
    gateway.authorize("k2", "1.00", "o").await;
    gateway.capture("k3", &id, "1.01").await;
    gateway.post(&voids(&id), "k4", json!({})).await;
    settled(&gateway).await;
    let mut kinds: Vec<String> = receiver.received().iter().map(crate::support::Received::kind).collect();
    kinds.sort();
    assert_eq!(kinds, ["authorization.declined", "authorization.succeeded", "authorization.voided"]);
}

#[tokio::test]
async fn duplicate_comes_twice_with_one_id() {
    let receiver = Receiver::start().await;
    let gateway = start_with(receiver.config()).await;
    gateway.fault(json!({ "fault": "duplicate_webhook", "operation": "authorize" })).await;
    gateway.authorize("k1", "1.00", "o").await;
    let status = settled(&gateway).await;
    let told = receiver.received();
    assert_eq!(told.len(), 2);
    assert_eq!((&told[0].id, &told[0].body), (&told[1].id, &told[1].body));
    assert_eq!(
        (&status["events"], &status["duplicated"], &status["delivered"]),
        (&json!(1), &json!(1), &json!(2))
    );
}

#[tokio::test]
async fn out_of_order_comes_after_the_next_of_its_payment() {
    let receiver = Receiver::start().await;
    let gateway = start_with(receiver.config()).await;
    gateway
        .fault(json!({ "fault": "out_of_order_webhook", "operation": "authorize", "delay_ms": 600_000 }))
        .await;
    let id = gateway.authorize("k1", "1.00", "o").await.id();
    gateway.authorize("k2", "1.00", "another payment").await;
    receiver.wait_for(1).await;
    gateway.capture("k3", &id, "1.00").await;
    let told = receiver.wait_for(3).await;
    let of_payment: Vec<String> = told
        .iter()
        .filter(|webhook| webhook.json()["data"]["reference"] == "o")
        .map(crate::support::Received::kind)
        .collect();
    assert_eq!(of_payment, ["capture.succeeded", "authorization.succeeded"]);

    gateway.fault(json!({ "fault": "out_of_order_webhook", "delay_ms": 10 })).await;
    gateway.authorize("k4", "1.00", "alone").await;
    receiver.wait_for(4).await;
    assert_eq!(settled(&gateway).await["reordered"], 2);
}

#[tokio::test]
async fn dropped_never_comes() {
    let receiver = Receiver::start().await;
    let gateway = start_with(receiver.config()).await;
    gateway.fault(json!({ "fault": "drop_webhook", "operation": "authorize" })).await;
    let id = gateway.authorize("k1", "1.00", "o").await.id();
    gateway.capture("k2", &id, "1.00").await;
    let status = settled(&gateway).await;
    assert_eq!((&status["dropped"], &status["delivered"]), (&json!(1), &json!(1)));
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(receiver.received()[0].kind(), "capture.succeeded");
}

#[tokio::test]
async fn failed_deliveries_are_tried_again_and_given_up_in_the_end() {
    let receiver = Receiver::start().await;
    let gateway = start_with(Config { webhook_attempts: 2, ..receiver.config() }).await;
    receiver.refuse(1);
    gateway.authorize("k1", "1.00", "o").await;
    let status = settled(&gateway).await;
    assert_eq!(
        (&status["attempts"], &status["delivered"], &status["failed"]),
        (&json!(2), &json!(1), &json!(0))
    );
    assert_eq!(receiver.received().len(), 1);

    receiver.refuse(2);
    gateway.authorize("k2", "1.00", "o").await;
    let status = settled(&gateway).await;
    assert_eq!(
        (&status["attempts"], &status["delivered"], &status["failed"]),
        (&json!(4), &json!(1), &json!(1))
    );
    assert_eq!(status["last_error"], "answered 503 Service Unavailable");
}

#[tokio::test]
async fn a_full_queue_is_counted_and_never_blocks_payments() {
    // Nothing accepts on this address: the listener is never asked to, and its answers never come.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        webhook_url: Some(format!("http://{}/", silent.local_addr().unwrap())),
        webhook_secret: Some(SECRET.to_owned()),
        webhook_concurrency: 1,
        webhook_queue: 2,
        ..Config::default()
    };
    let gateway = start_with(config).await;
    for nth in 0..10 {
        assert_eq!(gateway.authorize(&format!("k{nth}"), "1.00", "o").await.status, 201);
    }
    let status = gateway.webhooks().await;
    assert_eq!(status["events"], 10);
    let overflowed = status["overflowed"].as_u64().unwrap();
    assert!((7..=8).contains(&overflowed), "one under way, two queued: {status}");
}

#[tokio::test]
async fn the_receiver_can_be_set_later() {
    let gateway = start().await;
    gateway.authorize("k1", "1.00", "o").await;
    assert_eq!(gateway.webhooks().await["events"], 0);
    let receiver = Receiver::start().await;
    let put = |body: Value| Gateway::send(gateway.request(Method::PUT, "/control/webhooks").json(&body));
    assert_eq!(put(json!({ "url": receiver.url })).await.unwrap().json()["field"], "secret");
    assert_eq!(put(json!({ "url": "ftp://x", "secret": SECRET })).await.unwrap().json()["field"], "url");
    let answer = put(json!({ "url": receiver.url, "secret": SECRET })).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.json()["url"]), (200, &json!(receiver.url)));
    gateway.authorize("k2", "1.00", "o").await;
    receiver.wait_for(1).await;
    assert_eq!(put(json!({ "url": null })).await.unwrap().json()["url"], Value::Null);
    gateway.authorize("k3", "1.00", "o").await;
    assert_eq!(settled(&gateway).await["events"], 1);
}

#[tokio::test]
async fn shutdown_sends_what_is_queued() {
    let receiver = Receiver::start().await;
    let gateway = start_with(Config { webhook_concurrency: 1, ..receiver.config() }).await;
    for nth in 0..50 {
        gateway.authorize(&format!("k{nth}"), "1.00", "o").await;
    }
    gateway.fault(json!({ "fault": "out_of_order_webhook", "delay_ms": 600_000 })).await;
    gateway.authorize("held", "1.00", "o").await;
    drop(gateway.client);
    gateway.handle.shutdown().await.unwrap();
    assert_eq!(receiver.received().len(), 51);
}
