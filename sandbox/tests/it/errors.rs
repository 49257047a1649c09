use reqwest::Method;
use serde_json::json;

use crate::support::{Gateway, authorization, captures, start};

#[tokio::test]
async fn the_key_is_checked_before_anything_else() {
    let gateway = start().await;
    let url = format!("{}/v1/ledger/summary", gateway.url);
    for request in [
        gateway.client.get(&url),
        gateway.client.get(&url).bearer_auth("sk_other"),
        gateway.client.get(&url).bearer_auth(""),
        gateway.client.get(&url).basic_auth("sk_sandbox", None::<&str>),
        gateway.client.post(format!("{}/v1/authorizations", gateway.url)).body("{"),
    ] {
        let answer = Gateway::send(request).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthorized"));
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    assert_eq!(
        Gateway::send(gateway.client.get(&url).header("authorization", "bearer sk_sandbox"))
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test]
async fn money_moves_only_under_an_idempotency_key() {
    let gateway = start().await;
    for key in [None, Some(""), Some("with space"), Some(&*"k".repeat(256))] {
        let mut request = gateway.request(Method::POST, "/v1/authorizations");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = Gateway::send(request.json(&authorization("1.00", "tok_visa", "o"))).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "idempotency_key_required"));
    }
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let gateway = start().await;
    let good = authorization("1.00", "tok_visa", "o");
    for (field, value, named, status) in [
        ("amount", json!("0"), "amount", 422),
        ("amount", json!("-1"), "amount", 422),
        ("amount", json!("1.001"), "amount", 422),
        ("amount", json!(1.5), "body", 422),
        ("currency", json!("gbp"), "currency", 422),
        ("token", json!("4242424242424242"), "token", 422),
        ("reference", json!(""), "reference", 422),
        ("reference", json!("r".repeat(256)), "reference", 422),
        ("reference", json!("a\nb"), "reference", 422),
        ("surprise", json!(1), "body", 422),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let answer = gateway.post("/v1/authorizations", "k", body).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(answer.json()["field"], named, "{}", answer.text);
    }
    let post = || gateway.request(Method::POST, "/v1/authorizations").header("idempotency-key", "k");
    let broken = Gateway::send(post().body("{\"amount\":")).await.unwrap();
    assert_eq!((broken.status.as_u16(), broken.code().as_str()), (400, "malformed_body"));
    let large = Gateway::send(post().body(" ".repeat(70_000))).await.unwrap();
    assert_eq!((large.status.as_u16(), large.code().as_str()), (413, "body_too_large"));
    assert_eq!(gateway.get("/v1/ledger?limit=0").await.json()["field"], "limit");
    assert_eq!(gateway.get("/v1/ledger?after=x").await.json()["field"], "query");
    assert_eq!(gateway.summary().await["authorizations"], 0);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let gateway = start().await;
    let nobody = "auth_00000000-0000-7000-8000-000000000000";
    for path in [format!("/v1/authorizations/{nobody}"), "/v1/authorizations/x".into(), "/nowhere".into()] {
        let answer = gateway.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not_found"), "{path}");
    }
    let answer = gateway.capture("k", nobody, "1.00").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not_found"));
    assert_eq!(gateway.get("/v1/operations/k").await.status, 404, "nothing was decided");
    assert_eq!(gateway.get("/v1/authorizations").await.code(), "method_not_allowed");
}

#[tokio::test]
async fn currencies_do_not_mix() {
    let gateway = start().await;
    let id = gateway.authorize("k1", "10.00", "o").await.id();
    let body = json!({ "amount": "10.00", "currency": "EUR" });
    let answer = gateway.post(&captures(&id), "k2", body).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "currency_mismatch"));
    assert_eq!(gateway.capture("k2", &id, "10.00").await.status, 201);
}

#[tokio::test]
async fn health_and_metrics() {
    let gateway = start().await;
    assert_eq!(gateway.get("/health/live").await.status, 200);
    assert_eq!(gateway.get("/health/ready").await.json()["status"], "ok");
    gateway.authorize("k1", "1.00", "o").await;
    gateway.authorize("k1", "1.00", "o").await;
    gateway.authorize("k1", "2.00", "o").await;
    let page = gateway.get("/metrics").await;
    assert!(page.header("content-type").starts_with("text/plain"));
    for outcome in ["succeeded", "replayed", "key_reused"] {
        let line =
            format!("waybill_sandbox_operations_total{{operation=\"authorize\",outcome=\"{outcome}\"}} 1");
        assert!(page.text.lines().any(|found| found == line), "{line} in {}", page.text);
    }
}
