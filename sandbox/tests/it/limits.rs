use serde_json::{Value, json};

use crate::support::{authorization, gbp, refunds, start, voids};

#[tokio::test]
async fn an_authorization_has_the_promised_shape() {
    let gateway = start().await;
    let answer = gateway.authorize("k1", "12.3", "order-1").await;
    assert_eq!(answer.status, 201);
    let body = answer.json();
    assert!(body["id"].as_str().unwrap().starts_with("auth_"));
    assert!(body["created_at"].as_str().unwrap().ends_with('Z'));
    let mut rest = body.clone();
    for field in ["id", "created_at"] {
        rest.as_object_mut().unwrap().remove(field);
    }
    let expected = json!({
        "status": "authorized", "amount": "12.30", "currency": "GBP", "reference": "order-1",
        "captured": "0.00", "refunded": "0.00", "voided": false,
    });
    assert_eq!(rest, expected);
    assert_eq!(gateway.get(&format!("/v1/authorizations/{}", answer.id())).await.json(), body);
}

#[tokio::test]
async fn cards_decline_as_their_names_say() {
    let gateway = start().await;
    for (token, code) in [
        ("tok_declined", "card_declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
        ("tok_expired", "expired_card"),
    ] {
        let answer = gateway.post("/v1/authorizations", token, authorization("9.99", token, "o")).await;
        assert_eq!(answer.status, 402);
        let body = answer.json();
        assert_eq!((&body["status"], &body["decline_code"]), (&json!("declined"), &json!(code)));
        assert_eq!(body["amount"], "9.99");
        let capture = gateway.capture(&format!("c-{token}"), &answer.id(), "9.99").await;
        assert_eq!((capture.status.as_u16(), capture.code().as_str()), (409, "authorization_declined"));
    }
    let answer = gateway.post("/v1/authorizations", "mc", authorization("9.99", "tok_mastercard", "o")).await;
    assert_eq!(answer.status, 201);
    let summary = gateway.summary().await;
    assert_eq!((&summary["authorizations"], &summary["declines"]), (&json!(1), &json!(3)));
}

#[tokio::test]
async fn never_captures_more_than_authorised() {
    let gateway = start().await;
    let id = gateway.authorize("k1", "10.00", "o").await.id();
    let over = gateway.capture("k2", &id, "10.01").await;
    assert_eq!((over.status.as_u16(), over.code().as_str()), (409, "capture_exceeds_authorized"));
    let first = gateway.capture("k3", &id, "6.00").await;
    assert_eq!(first.status, 201);
    let body = first.json();
    assert!(first.id().starts_with("cap_"));
    assert_eq!(
        (&body["authorization_id"], &body["amount"], &body["currency"], &body["status"]),
        (&json!(id), &json!("6.00"), &json!("GBP"), &json!("succeeded"))
    );
    assert_eq!(gateway.capture("k4", &id, "4.01").await.status, 409);
    assert_eq!(gateway.capture("k5", &id, "4.00").await.status, 201);
    assert_eq!(gateway.capture("k6", &id, "0.01").await.status, 409);
    assert_eq!(gateway.get(&format!("/v1/authorizations/{id}")).await.json()["captured"], "10.00");
    assert_eq!(gateway.post(&voids(&id), "k7", json!({})).await.code(), "already_captured");
    assert_eq!(gateway.summary().await["double_captures"], 1);
}

#[tokio::test]
async fn one_hundred_captures_at_once_share_what_was_authorised() {
    let gateway = start().await;
    let id = gateway.authorize("k", "10.00", "o").await.id();
    let keys: Vec<String> = (0..100).map(|nth| format!("k{nth}")).collect();
    let answers = futures::future::join_all(keys.iter().map(|key| gateway.capture(key, &id, "1.00"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 10);
    assert_eq!(answers.iter().filter(|answer| answer.status == 409).count(), 90);
    assert_eq!(gateway.summary().await["captured"], json!({ "GBP": "10.00" }));
}

#[tokio::test]
async fn never_refunds_more_than_captured() {
    let gateway = start().await;
    let id = gateway.authorize("k1", "10.00", "o").await.id();
    let capture = gateway.capture("k2", &id, "8.00").await.id();
    let over = gateway.post(&refunds(&capture), "k3", gbp("8.01")).await;
    assert_eq!((over.status.as_u16(), over.code().as_str()), (409, "refund_exceeds_captured"));
    let refund = gateway.post(&refunds(&capture), "k4", gbp("5.00")).await;
    assert_eq!(refund.status, 201);
    assert!(refund.id().starts_with("ref_"));
    assert_eq!(refund.json()["capture_id"], capture.as_str());
    assert_eq!(gateway.post(&refunds(&capture), "k5", gbp("3.01")).await.status, 409);
    assert_eq!(gateway.post(&refunds(&capture), "k6", gbp("3.00")).await.status, 201);
    assert_eq!(gateway.post(&refunds(&capture), "k7", gbp("0.01")).await.status, 409);
    let held = gateway.get(&format!("/v1/authorizations/{id}")).await.json();
    assert_eq!((&held["captured"], &held["refunded"]), (&json!("8.00"), &json!("8.00")));
    assert_eq!(gateway.summary().await["refunded"], json!({ "GBP": "8.00" }));
}

#[tokio::test]
async fn a_void_lets_everything_go_once() {
    let gateway = start().await;
    let id = gateway.authorize("k1", "10.00", "o").await.id();
    // No body at all is as good as an empty object.
    let request = gateway.request(reqwest::Method::POST, &voids(&id)).header("idempotency-key", "k2");
    let void = crate::support::Gateway::send(request).await.unwrap();
    assert_eq!(void.status, 201);
    assert!(void.id().starts_with("void_"));
    assert_eq!(gateway.post(&voids(&id), "k3", json!({})).await.code(), "authorization_voided");
    assert_eq!(gateway.capture("k4", &id, "10.00").await.code(), "authorization_voided");
    assert_eq!(gateway.get(&format!("/v1/authorizations/{id}")).await.json()["voided"], true);
}

#[tokio::test]
async fn the_ledger_pages_through_everything_once() {
    let gateway = start().await;
    let mut made = Vec::new();
    for nth in 0..7 {
        let id = gateway.authorize(&format!("a{nth}"), "2.00", &format!("order-{nth}")).await.id();
        made.push(("authorize", id.clone()));
        made.push(("capture", gateway.capture(&format!("c{nth}"), &id, "2.00").await.id()));
    }
    let (mut seen, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let page = gateway.get(&format!("/v1/ledger?after={after}&limit=4")).await.json();
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 4);
        seen.extend(data.iter().cloned());
        match &page["next_cursor"] {
            Value::Null => break,
            next => next.as_str().unwrap().clone_into(&mut after),
        }
    }
    let listed: Vec<_> = seen
        .iter()
        .map(|entry| (entry["kind"].as_str().unwrap(), entry["id"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(listed, made);
    assert!(seen.iter().zip(1..).all(|(entry, seq)| entry["seq"] == seq));
    assert_eq!(seen[1]["reference"], "order-0");
    assert_eq!((&seen[1]["amount"], &seen[1]["currency"]), (&json!("2.00"), &json!("GBP")));
    assert_eq!(seen[1]["authorization_id"], seen[0]["id"]);
    assert_eq!(gateway.get("/v1/ledger?after=99").await.json(), json!({ "data": [], "next_cursor": null }));
}
