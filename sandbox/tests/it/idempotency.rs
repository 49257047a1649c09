use serde_json::json;

use crate::support::{Gateway, authorization, eventually, start, voids};

#[tokio::test]
async fn the_same_request_is_answered_the_same_without_a_second_effect() {
    let gateway = start().await;
    let first = gateway.authorize("k1", "12.34", "order-1").await;
    assert_eq!(first.status, 201);
    assert!(!first.replayed());
    let again = gateway.authorize("k1", "12.34", "order-1").await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert!(again.replayed());
    // The same amount in other words, and the fields in another order.
    let body = r#"{"reference":"order-1","token":"tok_visa","currency":"GBP","amount":"12.340"}"#;
    let request =
        gateway.request(reqwest::Method::POST, "/v1/authorizations").header("idempotency-key", "k1");
    assert!(Gateway::send(request.body(body)).await.unwrap().replayed());
    assert_eq!(gateway.summary().await["authorizations"], 1);

    let id = first.id();
    let capture = gateway.capture("k2", &id, "12.34").await;
    let again = gateway.capture("k2", &id, "12.34").await;
    assert_eq!(capture.text, again.text);
    assert!(again.replayed());
    assert_eq!(gateway.summary().await["captured"], json!({ "GBP": "12.34" }));
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let gateway = start().await;
    let id = gateway.authorize("k1", "12.34", "order-1").await.id();
    let other = gateway.authorize("k1", "12.35", "order-1").await;
    assert_eq!((other.status.as_u16(), other.code().as_str()), (422, "idempotency_key_reused"));
    let elsewhere = gateway.capture("k1", &id, "12.34").await;
    assert_eq!(elsewhere.code(), "idempotency_key_reused");
    assert_eq!(gateway.summary().await["captures"], 0);
}

#[tokio::test]
async fn refusals_that_were_decided_are_repeated_and_others_are_not() {
    let gateway = start().await;
    let declined = gateway.post("/v1/authorizations", "k1", authorization("1.00", "tok_declined", "o")).await;
    assert_eq!(declined.status, 402);
    let again = gateway.post("/v1/authorizations", "k1", authorization("1.00", "tok_declined", "o")).await;
    assert_eq!(again.text, declined.text);
    assert_eq!(again.header("content-type"), "application/json");
    assert!(again.replayed());

    let id = gateway.authorize("k2", "5.00", "o").await.id();
    let over = gateway.capture("k3", &id, "5.01").await;
    assert_eq!(over.code(), "capture_exceeds_authorized");
    let again = gateway.capture("k3", &id, "5.01").await;
    assert_eq!(again.code(), "capture_exceeds_authorized");
    assert!(again.replayed());

    let invalid = gateway.post("/v1/authorizations", "k4", authorization("1.00", "tok_nobody", "o")).await;
    assert_eq!((invalid.status.as_u16(), invalid.code().as_str()), (422, "unknown_token"));
    assert_eq!(gateway.authorize("k4", "1.00", "o").await.status, 201);
}

#[tokio::test]
async fn a_key_in_flight_is_a_conflict_until_its_client_goes() {
    let gateway = start().await;
    gateway.fault(json!({ "fault": "timeout" })).await;
    let hanging = tokio::spawn({
        let request = gateway
            .request(reqwest::Method::POST, "/v1/authorizations")
            .header("idempotency-key", "k1")
            .json(&authorization("1.00", "tok_visa", "o"));
        async move { request.send().await }
    });
    let conflict = eventually("the key is in flight", async || {
        let operation = gateway.get("/v1/operations/k1").await;
        (operation.status == 409).then_some(operation)
    })
    .await;
    assert_eq!(conflict.code(), "in_progress");
    let second = gateway.authorize("k1", "1.00", "o").await;
    assert_eq!((second.status.as_u16(), second.code().as_str()), (409, "in_progress"));
    assert_eq!(gateway.authorize("k1", "2.00", "o").await.code(), "idempotency_key_reused");

    hanging.abort();
    let _ = hanging.await;
    eventually("the key is free", async || {
        (gateway.get("/v1/operations/k1").await.status == 404).then_some(())
    })
    .await;
    assert_eq!(gateway.authorize("k1", "1.00", "o").await.status, 201);
    assert_eq!(gateway.summary().await["authorizations"], 1);
}

#[tokio::test]
async fn many_at_once_with_one_key_have_one_effect() {
    let gateway = start().await;
    let id = gateway.authorize("k1", "10.00", "order-1").await.id();
    let captures = (0..32).map(|_| gateway.capture("k2", &id, "10.00"));
    let answers = futures::future::join_all(captures).await;
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.text == answers[0].text));
    assert_eq!(answers.iter().filter(|answer| !answer.replayed()).count(), 1);
    let summary = gateway.summary().await;
    assert_eq!(summary["captures"], 1);
    assert_eq!(summary["double_captures"], 0);
}

#[tokio::test]
async fn what_became_of_a_key_can_be_asked() {
    let gateway = start().await;
    let missing = gateway.get("/v1/operations/nobody").await;
    assert_eq!((missing.status.as_u16(), missing.code().as_str()), (404, "not_found"));
    let authorized = gateway.authorize("order/1 authorize".replace(' ', ":").as_str(), "3.00", "o").await;
    let asked = gateway.get("/v1/operations/order%2F1:authorize").await.json();
    assert_eq!(asked["operation"], "authorize");
    assert_eq!(asked["status_code"], 201);
    assert_eq!(asked["response"], authorized.json());
    assert_eq!(asked["created_at"], authorized.json()["created_at"]);

    gateway.post(&voids(&authorized.id()), "k2", json!({})).await;
    assert_eq!(gateway.get("/v1/operations/k2").await.json()["operation"], "void");
    gateway.capture("k3", &authorized.id(), "3.00").await;
    let refused = gateway.get("/v1/operations/k3").await.json();
    assert_eq!(
        (&refused["status_code"], &refused["response"]["code"]),
        (&json!(409), &json!("authorization_voided"))
    );
}
