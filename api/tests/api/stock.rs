use serde_json::json;

use crate::support::{App, text};

#[tokio::test]
async fn corrections_move_the_level_and_the_ledger_together() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.product(&admin, "Thing", "T/1 x", "5.00").await;
    let level = app.stock(&admin, "T/1 x", 10).await;
    assert_eq!((level["on_hand"].as_i64(), level["delta"].as_i64()), (Some(10), Some(10)));
    assert_eq!(level["location"], "main");
    let delta = json!({ "sku": "T/1 x", "delta": -4, "reason": "broken" });
    let level = app.post("/v1/admin/stock/adjustments", delta).token(&admin).send().await.expect(201);
    assert_eq!(level["available"], 6);
    // A count that was right changes nothing.
    assert_eq!(app.stock(&admin, "T/1 x", 6).await["delta"], 0);

    let list = app.get("/v1/admin/stock?sku=T/1%20x").token(&admin).send().await.expect(200);
    assert_eq!(list["data"][0]["on_hand"], 6);
    let ledger = app.get("/v1/admin/stock/T%2F1%20x/ledger").token(&admin).send().await.expect(200);
    let moves: Vec<_> =
        ledger["data"].as_array().unwrap().iter().map(|e| e["on_hand_delta"].as_i64()).collect();
    assert_eq!(moves, [Some(-4), Some(10)]);
    assert_eq!(ledger["data"][0]["reference"], "broken");
    app.get("/v1/admin/stock/unknown/ledger").token(&admin).send().await.problem(404, "not_found");
}

#[tokio::test]
async fn no_correction_takes_what_orders_were_promised() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.product(&admin, "Thing", "T-1", "5.00").await;
    app.stock(&admin, "T-1", 10).await;
    app.db.execute("update stock_levels set reserved = 7").await;
    let adjust = |body| app.post("/v1/admin/stock/adjustments", body).token(&admin).send();
    let refused = adjust(json!({ "sku": "T-1", "delta": -4, "reason": "x" })).await.problem(409, "conflict");
    assert_eq!((refused["on_hand"].as_i64(), refused["reserved"].as_i64()), (Some(10), Some(7)));
    adjust(json!({ "sku": "T-1", "on_hand": 6, "reason": "x" })).await.problem(409, "conflict");
    adjust(json!({ "sku": "T-1", "delta": -3, "reason": "x" })).await.expect(201);
    adjust(json!({ "sku": "T-1", "delta": i32::MAX, "reason": "x" })).await.problem(409, "conflict");

    for (body, field) in [
        (json!({ "sku": "T-1", "reason": "x" }), "delta"),
        (json!({ "sku": "T-1", "delta": 1, "on_hand": 1, "reason": "x" }), "on_hand"),
        (json!({ "sku": "T-1", "delta": 0, "reason": "x" }), "delta"),
        (json!({ "sku": "T-1", "on_hand": -1, "reason": "x" }), "on_hand"),
        (json!({ "sku": "T-1", "delta": 1, "reason": " " }), "reason"),
        (json!({ "sku": "none", "delta": 1, "reason": "x" }), "sku"),
        (json!({ "sku": "T-1", "delta": 1, "location": "moon", "reason": "x" }), "location"),
    ] {
        assert_eq!(adjust(body).await.faults()[0].0, field);
    }
}

#[tokio::test]
async fn selling_out_and_coming_back_are_told_once_each() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.product(&admin, "Thing", "T-1", "5.00").await;
    for on_hand in [5, 3, 0, 2, 4] {
        app.stock(&admin, "T-1", on_hand).await;
    }
    let told = |topic: &str| format!("select count(*) as n from outbox where topic = '{topic}'");
    assert_eq!(app.db.count(&told("stock.replenished")).await, 2);
    assert_eq!(app.db.count(&told("stock.depleted")).await, 1);
}

#[tokio::test]
async fn simultaneous_corrections_all_count() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.product(&admin, "Thing", "T-1", "5.00").await;
    let body = json!({ "sku": "T-1", "delta": 1, "reason": "x" });
    let calls = (0..20).map(|_| app.post("/v1/admin/stock/adjustments", body.clone()).token(&admin).send());
    for answer in futures::future::join_all(calls).await {
        answer.expect(201);
    }
    let list = app.get("/v1/admin/stock").token(&admin).send().await.expect(200);
    assert_eq!(list["data"][0]["on_hand"], 20);
    assert_eq!(app.db.count("select sum(on_hand_delta)::bigint as n from stock_ledger").await, 20);
    assert_eq!(app.db.count("select count(*) as n from outbox where topic = 'stock.replenished'").await, 1);
    assert_eq!(text(&list["data"][0], "sku"), "T-1");
}
