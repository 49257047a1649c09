use futures::future::join_all;
use serde_json::json;
use waybill_jobs::{kinds::RunCheckout, testing::enqueued};

use crate::{
    shop::checkout,
    support::{App, text},
};

#[tokio::test]
async fn an_order_freezes_what_was_bought_and_starts_its_job() {
    let app = App::start().await;
    app.goods(&[("A", "0.125", 10), ("B", "2.50", 10)]).await;
    let lines = json!([
        { "sku": "A", "quantity": 3 }, { "sku": "B", "quantity": 2 }, { "sku": "A", "quantity": 1 },
    ]);
    let what = json!({ "lines": lines, "email": " guest@example.com ", "reference": "PO 7", "expected_total": "5.51" });
    let answer = app.checkout(what).await;
    let location = answer.header("location").unwrap().to_owned();
    let order = answer.expect(202);

    assert_eq!(location, format!("/v1/orders/{}", text(&order, "id")));
    assert_eq!((text(&order, "status"), text(&order, "step")), ("pending", "accepted"));
    // 0.375 and 0.125 are rounded per line, half away from zero.
    let totals: Vec<&str> =
        order["lines"].as_array().unwrap().iter().map(|line| text(&line["total"], "amount")).collect();
    assert_eq!(totals, ["0.38", "5.00", "0.13"]);
    assert_eq!(order["total"], json!({ "amount": "5.51", "currency": "GBP" }));
    assert_eq!(order["lines"][0]["unit_price"]["amount"], "0.125");
    assert_eq!(order["shipping_address"]["country"], "GB");
    assert_eq!(order["billing_address"], order["shipping_address"]);
    assert_eq!(text(&order, "email"), "guest@example.com");

    let jobs = enqueued::<RunCheckout>(app.db.pool()).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].order_id.to_string(), text(&order, "id"));
    assert_eq!(app.db.count("select count(*) as n from outbox where topic = 'order.placed'").await, 1);
    assert_eq!(
        app.db.count("select count(*) as n from payments where status = 'pending' and amount = 5.51").await,
        1
    );

    // What is read is what was answered, without the token.
    let token = text(&order, "guest_token");
    let read = app.get(&location).header("x-order-token", token).send().await.expect(200);
    let mut told = order.clone();
    told.as_object_mut().unwrap().remove("guest_token");
    assert_eq!(read, told);
    // The catalogue may change now.
    app.db.execute("update variants set price = 99; update products set name = 'Other'").await;
    let read = app.get(&location).header("x-order-token", token).send().await.expect(200);
    assert_eq!(read, told);
}

#[tokio::test]
async fn five_checkouts_of_one_cart_are_one_order() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 10)]).await;
    let (cart, token) = app.cart(&[("A", 2)]).await;
    let body = checkout(json!({ "cart_id": cart, "email": "guest@example.com" }));
    let answers = join_all(
        (0..5).map(|_| app.post("/v1/checkout", body.clone()).header("x-cart-token", &token).send()),
    )
    .await;
    let orders: Vec<_> = answers.into_iter().map(|answer| answer.expect(202)).collect();
    for order in &orders {
        assert_eq!(order["id"], orders[0]["id"]);
        assert_eq!(order["guest_token"], orders[0]["guest_token"]);
    }
    assert_eq!(app.db.count("select count(*) as n from orders").await, 1);
    assert_eq!(app.db.count("select count(*) as n from payments").await, 1);
    assert_eq!(enqueued::<RunCheckout>(app.db.pool()).await.len(), 1);
    assert_eq!(app.db.count("select count(*) as n from outbox").await, 1);

    let guest_token = text(&orders[0], "guest_token");
    let path = format!("/v1/orders/{}", text(&orders[0], "id"));
    app.get(&path).header("x-order-token", guest_token).send().await.expect(200);
    let add = app.post(&format!("/v1/carts/{cart}/lines"), json!({ "sku": "A", "quantity": 1 }));
    add.header("x-cart-token", &token).send().await.problem(409, "conflict");
}

#[tokio::test]
async fn a_key_makes_a_request_safe_to_repeat() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 10)]).await;
    let body = checkout(json!({ "lines": [{ "sku": "A", "quantity": 1 }], "email": "guest@example.com" }));
    let send = |key: &str, body: &serde_json::Value| {
        app.post("/v1/checkout", body.clone()).header("idempotency-key", key).send()
    };
    let first = send("k1", &body).await;
    let location = first.header("location").unwrap().to_owned();
    let first = first.expect(202);
    app.move_order(text(&first, "id"), "reserved", "pending").await;
    let again = send("k1", &body).await;
    assert_eq!(again.header("location"), Some(location.as_str()));
    // The same answer, the guest's token included, whatever has become of the order since.
    assert_eq!(again.expect(202), first);
    assert_eq!(app.db.count("select count(*) as n from orders").await, 1);
    let token = text(&first, "guest_token");
    let stored = format!("select count(*) as n from idempotency_keys where body::text like '%{token}%'");
    assert_eq!(app.db.count(&stored).await, 0, "a token is readable in the database");

    let mut other = body.clone();
    other["lines"][0]["quantity"] = json!(2);
    send("k1", &other).await.problem(422, "idempotency_mismatch");
    assert_ne!(send("k2", &body).await.expect(202)["id"], first["id"]);
    assert_eq!(send("", &body).await.faults()[0].0, "Idempotency-Key");
    assert_eq!(send(&"x".repeat(256), &body).await.faults()[0].0, "Idempotency-Key");

    // A refused request leaves its key free.
    let mut wrong = body.clone();
    wrong["lines"][0]["sku"] = json!("NOPE");
    send("k3", &wrong).await.problem(422, "validation");
    send("k3", &body).await.expect(202);

    // Many at once: one does it, the others get its answer or are told to come back.
    let answers = join_all((0..5).map(|_| send("k4", &body))).await;
    let mut ids = Vec::new();
    for answer in answers {
        if answer.status == 409 {
            assert_eq!(answer.header("retry-after"), Some("1"));
            answer.problem(409, "idempotency_in_progress");
        } else {
            ids.push(text(&answer.expect(202), "id").to_owned());
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_key_in_use_is_in_progress() {
    use diesel_async::SimpleAsyncConnection;
    let app = App::start().await;
    app.goods(&[("A", "1.00", 10)]).await;
    let (_, token) = app.customer("jane@example.com").await;
    // Somebody else's transaction holds the key's lock.
    let user = app.get("/v1/me").token(&token).send().await.expect(200);
    let mut conn = app.db.conn().await;
    let lock = format!(
        "begin; select pg_advisory_xact_lock(hashtextextended('user:{}' || chr(31) || 'k', 0))",
        text(&user, "id")
    );
    conn.batch_execute(&lock).await.unwrap();
    let body = checkout(json!({ "lines": [{ "sku": "A", "quantity": 1 }] }));
    let send = || app.post("/v1/checkout", body.clone()).token(&token).header("idempotency-key", "k").send();
    send().await.problem(409, "idempotency_in_progress");
    conn.batch_execute("rollback").await.unwrap();
    send().await.expect(202);
}

#[tokio::test]
async fn everything_wrong_is_told_at_once() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 10), ("OFF", "1.00", 10)]).await;
    app.db.execute("update products set status = 'inactive' where slug = 'off'").await;
    let what = json!({
        "lines": [
            { "sku": "A", "quantity": 0 },
            { "sku": "NOPE", "quantity": 1 },
            { "sku": "OFF", "quantity": 1 },
            { "sku": " ", "quantity": 1_000_001 },
        ],
        "currency": "pounds", "expected_total": "1e3",
        "shipping_address": { "name": "", "line1": "1", "city": "C", "country": "GBR" },
        "payment": { "token": "4242 4242 4242 4242" },
    });
    let faults = app.checkout(what).await.faults();
    let faults: Vec<(&str, &str)> =
        faults.iter().map(|(field, code)| (field.as_str(), code.as_str())).collect();
    assert_eq!(
        faults,
        [
            ("currency", "invalid"),
            ("email", "required"),
            ("expected_total", "invalid"),
            ("lines[0].quantity", "invalid"),
            ("lines[1].sku", "unknown"),
            ("lines[2].sku", "not_on_sale"),
            ("lines[3].quantity", "invalid"),
            ("lines[3].sku", "invalid"),
            ("payment.token", "card_number"),
            ("shipping_address.country", "invalid"),
            ("shipping_address.name", "required"),
        ]
    );
    let fault = |what: serde_json::Value| {
        let app = &app;
        async move {
            let faults = app.checkout(what).await.faults();
            assert_eq!(faults.len(), 1, "{faults:?}");
            let (field, code) = faults[0].clone();
            format!("{field} {code}")
        }
    };
    let email = "guest@example.com";
    assert_eq!(fault(json!({ "email": email })).await, "lines required");
    assert_eq!(fault(json!({ "email": email, "lines": [] })).await, "lines required");
    assert_eq!(
        fault(json!({ "email": "me", "lines": [{ "sku": "A", "quantity": 1 }] })).await,
        "email invalid"
    );
    let eur = json!({ "email": email, "currency": "EUR", "lines": [{ "sku": "A", "quantity": 1 }] });
    assert_eq!(fault(eur).await, "lines[0].sku currency");
    let unknown = json!({ "email": email, "lines": [{ "sku": "A", "quantity": 1, "price": "1" }] });
    assert_eq!(fault(unknown).await, "lines[0].price unknown_field");
    let huge: Vec<_> = (0..2_001).map(|_| json!({ "sku": "A", "quantity": 1 })).collect();
    assert_eq!(fault(json!({ "email": email, "lines": huge })).await, "lines too_long");
    assert_eq!(app.db.count("select count(*) as n from orders").await, 0);
    assert_eq!(app.db.count("select count(*) as n from jobs").await, 0);
}

#[tokio::test]
async fn a_total_that_no_longer_holds_is_refused_with_the_one_that_does() {
    let app = App::start().await;
    app.goods(&[("A", "1.25", 10)]).await;
    let (cart, token) = app.cart(&[("A", 2)]).await;
    app.db.execute("update variants set price = 1.50").await;
    let body = checkout(json!({ "cart_id": cart, "email": "guest@example.com", "expected_total": "2.50" }));
    let send = |body: &serde_json::Value| {
        app.post("/v1/checkout", body.clone()).header("x-cart-token", &token).send()
    };
    let problem = send(&body).await.problem(409, "total_changed");
    assert_eq!(problem["total"], json!({ "amount": "3.00", "currency": "GBP" }));
    // The cart is as it was.
    let mut body = body;
    body["expected_total"] = json!("3.0");
    send(&body).await.expect(202);
}

#[tokio::test]
async fn agreed_prices_need_their_scope() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 10), ("B", "1.00", 10)]).await;
    let (customer_id, token) = app.customer("jane@example.com").await;
    let agreed = json!({ "lines": [
        { "sku": "A", "quantity": 10, "agreed_price": "0.0525" },
        { "sku": "A", "quantity": 1, "agreed_price": "0" },
        { "sku": "B", "quantity": 1 },
    ], "customer_id": customer_id, "expected_total": "1.53" });
    let mut own = agreed.clone();
    own.as_object_mut().unwrap().remove("customer_id");
    let body = checkout(agreed);

    app.post("/v1/checkout", checkout(own.clone())).token(&token).send().await.problem(403, "forbidden");
    let admin = app.admin().await;
    app.post("/v1/checkout", checkout(own)).token(&admin).send().await.problem(403, "forbidden");
    let weak = app.key(&["orders:write"]).await;
    app.post("/v1/checkout", body.clone()).key(&weak).send().await.problem(403, "forbidden");
    let wrong = app.key(&["orders:agreed_price"]).await;
    app.post("/v1/checkout", body.clone()).key(&wrong).send().await.problem(403, "forbidden");

    let shop = app.key(&["orders:write", "orders:agreed_price"]).await;
    let order = app.post("/v1/checkout", body.clone()).key(&shop).send().await.expect(202);
    assert_eq!(text(&order, "customer_id"), customer_id);
    assert_eq!(text(&order, "email"), "jane@example.com");
    assert!(order.get("guest_token").is_none());
    let lines = order["lines"].as_array().unwrap();
    let agreed: Vec<bool> = lines.iter().map(|line| line["agreed"].as_bool().unwrap()).collect();
    assert_eq!(agreed, [true, true, false]);
    // It is the customer's own.
    let path = format!("/v1/orders/{}", text(&order, "id"));
    app.get(&path).token(&token).send().await.expect(200);

    let mut bad = body.clone();
    bad["lines"][0]["agreed_price"] = json!("0.00001");
    bad["lines"][1]["agreed_price"] = json!("-1");
    bad["customer_id"] = json!("01900000-0000-7000-8000-000000000000");
    let faults = app.post("/v1/checkout", bad).key(&shop).send().await.faults();
    let fields: Vec<&str> = faults.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["customer_id", "lines[0].agreed_price", "lines[1].agreed_price"]);
}

#[tokio::test]
async fn a_key_checks_a_guest_s_cart_out_for_a_customer() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 10), ("B", "2.00", 10)]).await;
    let (customer_id, _) = app.customer("jane@example.com").await;
    let (cart, token) = app.cart(&[("A", 2), ("B", 1)]).await;
    let shop = app.key(&["orders:write", "orders:agreed_price"]).await;
    let send = |prices: serde_json::Value| {
        let what = json!({ "cart_id": cart, "customer_id": customer_id, "agreed_prices": prices });
        app.post("/v1/checkout", checkout(what)).key(&shop).header("x-cart-token", &token).send()
    };
    let unknown = json!([{ "sku": "A", "unit_price": "0.5" }, { "sku": "C", "unit_price": "1" }]);
    assert_eq!(send(unknown).await.faults(), [("agreed_prices[1].sku".to_owned(), "unknown".to_owned())]);
    let twice = json!([{ "sku": "A", "unit_price": "0.5" }, { "sku": "A", "unit_price": "1" }]);
    assert_eq!(send(twice).await.faults(), [("agreed_prices[1].sku".to_owned(), "repeated".to_owned())]);
    let order = send(json!([{ "sku": "A", "unit_price": "0.5" }])).await.expect(202);
    assert_eq!(text(&order["total"], "amount"), "3.00");
    assert_eq!(text(&order, "customer_id"), customer_id);
}

#[tokio::test]
async fn nobody_checks_out_for_others_or_from_others_carts() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 10)]).await;
    let (jane, token) = app.customer("jane@example.com").await;
    let (_, other) = app.customer("joe@example.com").await;
    let lines = json!([{ "sku": "A", "quantity": 1 }]);
    let for_jane = checkout(json!({ "lines": lines, "customer_id": jane }));
    app.post("/v1/checkout", for_jane.clone()).token(&other).send().await.problem(403, "forbidden");
    app.post("/v1/checkout", for_jane.clone()).send().await.problem(403, "forbidden");

    let cart = app.post("/v1/carts", json!({})).token(&token).send().await.expect(201);
    let id = text(&cart, "id");
    app.post(&format!("/v1/carts/{id}/lines"), json!({ "sku": "A", "quantity": 1 }))
        .token(&token)
        .send()
        .await
        .expect(200);
    let body = checkout(json!({ "cart_id": id }));
    app.post("/v1/checkout", body.clone()).token(&other).send().await.problem(404, "not_found");
    app.post("/v1/checkout", body.clone()).send().await.problem(401, "unauthenticated");
    app.post("/v1/checkout", body.clone())
        .header("x-cart-token", "guess")
        .send()
        .await
        .problem(404, "not_found");
    app.post("/v1/checkout", body).token(&token).send().await.expect(202);

    let (guest, guest_token) = app.cart(&[]).await;
    let empty = checkout(json!({ "cart_id": guest, "email": "guest@example.com" }));
    let answer = app.post("/v1/checkout", empty).header("x-cart-token", &guest_token).send().await;
    assert_eq!(answer.faults(), [("cart_id".to_owned(), "empty".to_owned())]);
}
