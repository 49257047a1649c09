use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Gateway, authorization, captures, eventually, gbp, refunds, start, voids};

#[tokio::test]
async fn decline_turns_down_any_operation() {
    let gateway = start().await;
    gateway
        .fault(json!({ "fault": "decline", "operation": "authorize", "decline_code": "do_not_honor" }))
        .await;
    let declined = gateway.authorize("k1", "5.00", "o").await;
    assert_eq!(declined.status, 402);
    assert_eq!(
        (&declined.json()["status"], &declined.json()["decline_code"]),
        (&json!("declined"), &json!("do_not_honor"))
    );

    let id = gateway.authorize("k2", "5.00", "o").await.id();
    gateway.fault(json!({ "fault": "decline", "operation": "capture" })).await;
    let declined = gateway.capture("k3", &id, "5.00").await;
    assert_eq!((declined.status.as_u16(), declined.code().as_str()), (402, "declined"));
    assert_eq!(declined.json()["decline_code"], "card_declined");
    assert!(gateway.capture("k3", &id, "5.00").await.replayed(), "a decline is final for its key");

    let capture = gateway.capture("k4", &id, "5.00").await.id();
    gateway.fault(json!({ "fault": "decline", "operation": "refund" })).await;
    assert_eq!(gateway.post(&refunds(&capture), "k5", gbp("1.00")).await.status, 402);
    let summary = gateway.summary().await;
    assert_eq!((&summary["captures"], &summary["refunds"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn timeout_hangs_without_effect() {
    let gateway = start().await;
    gateway.fault(json!({ "fault": "timeout", "operation": "authorize" })).await;
    let body = authorization("1.00", "tok_visa", "o");
    assert_eq!(gateway.give_up("/v1/authorizations", "k1", body, 409).await.code(), "in_progress");
    gateway.wait_until_free("k1").await;
    assert_eq!(gateway.summary().await["authorizations"], 0);

    gateway.fault(json!({ "fault": "timeout", "delay_ms": 20 })).await;
    let late = gateway.authorize("k1", "1.00", "o").await;
    assert_eq!((late.status.as_u16(), late.code().as_str()), (504, "timeout"));
    assert_eq!(gateway.authorize("k1", "1.00", "o").await.status, 201);
}

#[tokio::test]
async fn error_500_and_rate_limit_have_no_effect_and_leave_the_key_free() {
    let gateway = start().await;
    gateway.fault(json!({ "fault": "error_500", "times": 2 })).await;
    for _ in 0..2 {
        let answer = gateway.authorize("k1", "1.00", "o").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "internal_error"));
        assert_eq!(gateway.get("/v1/operations/k1").await.status, 404);
    }
    assert_eq!(gateway.authorize("k1", "1.00", "o").await.status, 201);

    gateway.fault(json!({ "fault": "rate_limit", "delay_ms": 2500 })).await;
    let answer = gateway.authorize("k2", "1.00", "o").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "rate_limited"));
    assert_eq!(answer.header("retry-after"), "3");
    assert_eq!(gateway.authorize("k2", "1.00", "o").await.status, 201);
}

#[tokio::test]
async fn lost_answer_takes_effect_and_closes_the_connection() {
    let gateway = start().await;
    let id = gateway.authorize("k1", "7.00", "order-7").await.id();
    gateway.fault(json!({ "fault": "lost_answer", "operation": "capture", "reference": "order-7" })).await;
    let lost = gateway.try_post(&captures(&id), "k2", gbp("7.00")).await;
    assert!(lost.is_err(), "{lost:?}");

    let asked = gateway.get("/v1/operations/k2").await.json();
    assert_eq!((&asked["operation"], &asked["status_code"]), (&json!("capture"), &json!(201)));
    let again = gateway.capture("k2", &id, "7.00").await;
    assert_eq!(again.json(), asked["response"]);
    assert!(again.replayed());
    let summary = gateway.summary().await;
    assert_eq!((&summary["captures"], &summary["captured"]), (&json!(1), &json!({ "GBP": "7.00" })));
}

#[tokio::test]
async fn lost_answer_can_hang_first() {
    let gateway = start().await;
    gateway.fault(json!({ "fault": "lost_answer", "delay_ms": 60_000 })).await;
    let body = authorization("1.00", "tok_visa", "o");
    let asked = gateway.give_up("/v1/authorizations", "k1", body, 200).await.json();
    assert_eq!(asked["status_code"], 201);
    let again = gateway.authorize("k1", "1.00", "o").await;
    assert_eq!(again.json(), asked["response"]);
}

#[tokio::test]
async fn a_replay_can_be_lost_too() {
    let gateway = start().await;
    gateway.fault(json!({ "fault": "lost_answer", "times": 3 })).await;
    let body = authorization("1.00", "tok_visa", "o");
    for _ in 0..3 {
        assert!(gateway.try_post("/v1/authorizations", "k1", body.clone()).await.is_err());
    }
    assert!(gateway.authorize("k1", "1.00", "o").await.replayed());
    assert_eq!(gateway.summary().await["authorizations"], 1);
}

#[tokio::test]
async fn delay_takes_effect_at_once_and_answers_late() {
    let gateway = start().await;
    gateway.fault(json!({ "fault": "delay", "delay_ms": 1500 })).await;
    let body = authorization("1.00", "tok_visa", "o");
    let (slow, while_waiting) = tokio::join!(gateway.post("/v1/authorizations", "k1", body), async {
        let asked = eventually("the effect", async || {
            let asked = gateway.get("/v1/operations/k1").await;
            (asked.status == 200).then_some(asked)
        })
        .await;
        (asked, gateway.authorize("k1", "1.00", "o").await)
    });
    assert_eq!(slow.status, 201);
    assert!(!slow.replayed());
    let (asked, conflict) = while_waiting;
    assert_eq!(asked.json()["response"], slow.json());
    assert_eq!(conflict.code(), "in_progress");
    let again = gateway.authorize("k1", "1.00", "o").await;
    assert!(again.replayed());
}

#[tokio::test]
async fn faults_keep_to_operation_reference_and_token() {
    let gateway = start().await;
    gateway.fault(json!({ "fault": "error_500", "operation": "void" })).await;
    gateway.fault(json!({ "fault": "error_500", "reference": "order-b" })).await;
    gateway.fault(json!({ "fault": "error_500", "token": "tok_mastercard", "operation": "capture" })).await;
    let visa = gateway.authorize("k1", "1.00", "order-a").await;
    assert_eq!(visa.status, 201);
    assert_eq!(gateway.authorize("k2", "1.00", "order-b").await.status, 500);
    assert_eq!(gateway.capture("k3", &visa.id(), "0.50").await.status, 201);
    let other =
        gateway.post("/v1/authorizations", "k4", authorization("1.00", "tok_mastercard", "order-a")).await;
    assert_eq!(gateway.capture("k5", &other.id(), "1.00").await.status, 500);
    assert_eq!(gateway.post(&voids(&other.id()), "k6", json!({})).await.status, 500);
    let list = gateway.get("/control/faults").await.json();
    assert_eq!(list["data"], json!([]));
    assert_eq!(list["applied"]["error_500"], 3);
}

#[tokio::test]
async fn the_list_of_faults_is_shown_cleared_and_checked() {
    let gateway = start().await;
    let added = gateway.fault(json!({ "fault": "decline", "times": 3, "reference": "o" })).await.json();
    assert_eq!((&added["remaining"], &added["fault"]), (&json!(3), &json!("decline")));
    gateway.authorize("k1", "1.00", "o").await;
    let list = gateway.get("/control/faults").await.json();
    assert_eq!((&list["data"][0]["remaining"], &list["applied"]["decline"]), (&json!(2), &json!(1)));
    let cleared = Gateway::send(gateway.request(Method::DELETE, "/control/faults")).await.unwrap();
    assert_eq!(cleared.status, 204);
    assert_eq!(gateway.authorize("k2", "1.00", "o").await.status, 201);

    for bad in [
        json!({}),
        json!({ "fault": "earthquake" }),
        json!({ "fault": "decline", "times": 0 }),
        json!({ "fault": "decline", "probability": 1.1 }),
        json!({ "fault": "decline", "token": "4242424242424242" }),
        json!({ "fault": "decline", "when": "now" }),
        Value::Null,
    ] {
        let answer =
            Gateway::send(gateway.request(Method::POST, "/control/faults").json(&bad)).await.unwrap();
        assert_eq!(answer.status, 422, "{bad}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_probability_of_one_always_strikes_and_of_zero_never() {
    let gateway = start().await;
    gateway.fault(json!({ "fault": "error_500", "probability": 0.0 })).await;
    assert_eq!(gateway.authorize("k1", "1.00", "o").await.status, 201);
    gateway.fault(json!({ "fault": "error_500", "probability": 1.0 })).await;
    assert_eq!(gateway.authorize("k2", "1.00", "o").await.status, 500);
    assert_eq!(gateway.authorize("k2", "1.00", "o").await.status, 201);
}

#[tokio::test]
async fn tokens_that_fail_once_per_key() {
    let gateway = start().await;
    let path = "/v1/authorizations";

    let error = || authorization("1.00", "tok_error_once", "o");
    assert_eq!(gateway.post(path, "e1", error()).await.status, 500);
    assert_eq!(gateway.post(path, "e1", error()).await.status, 201);
    assert_eq!(gateway.post(path, "e2", error()).await.status, 500);

    let lost = || authorization("2.00", "tok_lost_answer_once", "o");
    assert!(gateway.try_post(path, "l1", lost()).await.is_err());
    assert!(gateway.post(path, "l1", lost()).await.replayed());

    let timeout = || authorization("3.00", "tok_timeout_once", "o");
    gateway.give_up(path, "t1", timeout(), 409).await;
    gateway.wait_until_free("t1").await;
    let answer = gateway.post(path, "t1", timeout()).await;
    assert_eq!(answer.status, 201);
    assert!(!answer.replayed());
    assert_eq!(gateway.summary().await["authorizations"], 3);
}

#[tokio::test]
async fn reset_forgets_everything() {
    let gateway = start().await;
    gateway.authorize("k1", "1.00", "o").await;
    gateway.fault(json!({ "fault": "decline" })).await;
    let answer = Gateway::send(gateway.request(Method::POST, "/control/reset")).await.unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(gateway.summary().await["authorizations"], 0);
    assert_eq!(gateway.get("/v1/operations/k1").await.status, 404);
    let answer = gateway.authorize("k1", "2.00", "o").await;
    assert_eq!(answer.status, 201);
    assert!(!answer.replayed());
}
