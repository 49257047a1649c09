use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{ADMIN, App, PASSWORD, text};

#[tokio::test]
async fn a_guest_fills_changes_and_empties_a_cart() {
    let app = App::start().await;
    app.goods(&[("A", "0.125", 10), ("B", "2.00", 3)]).await;
    let (id, token) = app.cart(&[("A", 3), ("B", 1), ("A", 2)]).await;
    let path = format!("/v1/carts/{id}");
    let get = || app.get(&path).header("x-cart-token", &token).send();
    let set = |sku: &str, quantity: i64| {
        let call = app.call(poem::http::Method::PUT, &format!("{path}/lines/{sku}"));
        call.json(json!({ "quantity": quantity })).header("x-cart-token", &token).send()
    };
    let cart = get().await.expect(200);
    assert_eq!(cart["item_count"], 6);
    assert_eq!(cart["lines"][0]["quantity"], 5);
    assert_eq!(cart["lines"][0]["unit_price"]["amount"], "0.125");
    // 5 x 0.125 = 0.625, half away from zero.
    assert_eq!(cart["lines"][0]["total"]["amount"], "0.63");
    assert_eq!(cart["total"]["amount"], "2.63");
    assert_eq!(cart["lines"][1]["available"], 3);
    assert!(cart.get("token").is_none());
    let version = cart["version"].as_i64().unwrap();

    let cart = set("A", 1).await.expect(200);
    assert_eq!(cart["version"], version + 1);
    assert_eq!(cart["total"]["amount"], "2.13");
    assert_eq!(set("B", 4).await.problem(409, "out_of_stock")["available"], 3);
    assert_eq!(set("A", -1).await.faults()[0].0, "quantity");
    set("C", 1).await.problem(422, "validation");
    set("C", 0).await.problem(404, "not_found");
    // What was refused changed nothing.
    assert_eq!(get().await.expect(200)["version"], version + 1);
    assert_eq!(set("A", 0).await.expect(200)["item_count"], 1);
    let delete =
        |rest: &str| app.delete(&format!("{path}/lines{rest}")).header("x-cart-token", &token).send();
    delete("/A").await.problem(404, "not_found");
    assert_eq!(delete("/B").await.expect(200)["lines"], json!([]));
    set("A", 2).await.expect(200);
    assert_eq!(delete("").await.expect(200)["total"]["amount"], "0.00");
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_with_the_reason() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 5), ("OFF", "1.00", 5), ("EUR", "1.00", 5), ("BACK", "1.00", 0)]).await;
    app.db
        .execute(
            "update products set status = 'draft' where slug = 'off';
             update variants set currency = 'EUR' where sku = 'EUR';
             update stock_levels set backorder = true where variant_id = (select id from variants where sku = 'BACK')",
        )
        .await;
    let (id, token) = app.cart(&[("A", 3), ("BACK", 7)]).await;
    let add = |sku: &str, quantity: Value| {
        let body = json!({ "sku": sku, "quantity": quantity });
        app.post(&format!("/v1/carts/{id}/lines"), body).header("x-cart-token", &token).send()
    };
    // 3 are in already.
    assert_eq!(add("A", json!(3)).await.problem(409, "out_of_stock")["available"], 5);
    let fault = |field: &str, code: &str| vec![(field.to_owned(), code.to_owned())];
    assert_eq!(add("OFF", json!(1)).await.faults(), fault("sku", "not_on_sale"));
    assert_eq!(add("EUR", json!(1)).await.faults(), fault("sku", "currency"));
    assert_eq!(add("NOPE", json!(1)).await.faults(), fault("sku", "unknown"));
    assert_eq!(add("A", json!(0)).await.faults(), fault("quantity", "invalid"));
    assert_eq!(add("A", json!(1_000_001)).await.faults(), fault("quantity", "invalid"));
    assert_eq!(add("A", json!("1")).await.faults(), fault("quantity", "type"));
    assert_eq!(add("A", json!(1.5)).await.faults(), fault("quantity", "type"));

    // What changes in the catalogue later is shown on the line.
    app.db.execute("update variants set active = false where sku = 'A'").await;
    let cart = app.get(&format!("/v1/carts/{id}")).header("x-cart-token", &token).send().await.expect(200);
    assert_eq!(cart["lines"][0]["problem"], "not_on_sale");
    assert_eq!(cart["lines"][1]["problem"], Value::Null);
    assert_eq!(cart["total"]["amount"], "7.00");
}

#[tokio::test]
async fn changes_at_the_same_time_all_count() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 5)]).await;
    let (id, token) = app.cart(&[]).await;
    let path = format!("/v1/carts/{id}/lines");
    let add = || app.post(&path, json!({ "sku": "A", "quantity": 1 })).header("x-cart-token", &token).send();
    let answers = join_all((0..8).map(|_| add())).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 5);
    assert_eq!(answers.iter().filter(|answer| answer.status == 409).count(), 3);
}

#[tokio::test]
async fn carts_belong_to_whoever_holds_their_token_or_account() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 5)]).await;
    let (id, token) = app.cart(&[("A", 1)]).await;
    let (_, other) = app.cart(&[]).await;
    let (_, jane) = app.customer("jane@example.com").await;
    let path = format!("/v1/carts/{id}");
    app.get(&path).send().await.problem(401, "unauthenticated");
    app.get(&path).token(&jane).send().await.problem(404, "not_found");
    app.get(&path).header("x-cart-token", &other).send().await.problem(404, "not_found");
    let add = app.post(&format!("{path}/lines"), json!({ "sku": "A", "quantity": 1 }));
    add.header("x-cart-token", &other).send().await.problem(404, "not_found");
    app.get(&path).header("x-cart-token", &token).send().await.expect(200);

    // A customer has one.
    let first = app.post("/v1/carts", json!({})).token(&jane).send().await.expect(201);
    assert!(first.get("token").is_none());
    let second = app.post("/v1/carts", json!({ "currency": "EUR" })).token(&jane).send().await.expect(200);
    assert_eq!(second["id"], first["id"]);
    let mine = format!("/v1/carts/{}", text(&first, "id"));
    app.get(&mine).token(&jane).send().await.expect(200);
    app.get(&mine).header("x-cart-token", &token).send().await.problem(404, "not_found");
    app.post("/v1/carts", json!({ "currency": "gbp" })).send().await.problem(422, "validation");
}

#[tokio::test]
async fn a_guest_s_cart_is_merged_at_log_in() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 50), ("B", "1.00", 50)]).await;
    let admin = app.admin().await;
    let own = app.post("/v1/carts", json!({})).token(&admin).send().await.expect(201);
    let lines = format!("/v1/carts/{}/lines", text(&own, "id"));
    app.post(&lines, json!({ "sku": "A", "quantity": 2 })).token(&admin).send().await.expect(200);
    let (id, token) = app.cart(&[("A", 5), ("B", 1)]).await;

    let login = |token: &str| {
        let body = json!({ "email": ADMIN, "password": PASSWORD, "cart": { "id": id, "token": token } });
        app.post("/v1/auth/login", body).send()
    };
    assert!(login("guess").await.expect(200).get("cart_id").is_none());
    let answer = login(&token).await.expect(200);
    assert_eq!(answer["cart_id"], own["id"]);
    let cart = app.get(&format!("/v1/carts/{}", text(&own, "id"))).token(&admin).send().await.expect(200);
    let quantities: Vec<(&str, i64)> = cart["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (text(line, "sku"), line["quantity"].as_i64().unwrap()))
        .collect();
    assert_eq!(quantities, [("A", 5), ("B", 1)]);
    let guest = app.get(&format!("/v1/carts/{id}")).header("x-cart-token", &token).send().await.expect(200);
    assert_eq!((text(&guest, "status"), guest["item_count"].as_i64()), ("merged", Some(0)));
    let add = app.post(&format!("/v1/carts/{id}/lines"), json!({ "sku": "A", "quantity": 1 }));
    add.header("x-cart-token", &token).send().await.problem(409, "conflict");
    // The second time there is nothing to merge.
    assert!(login(&token).await.expect(200).get("cart_id").is_none());
}

#[tokio::test]
async fn an_expired_cart_is_left_alone() {
    let app = App::start().await;
    app.goods(&[("A", "1.00", 50)]).await;
    let (id, token) = app.cart(&[("A", 1)]).await;
    let (_, jane) = app.customer("jane@example.com").await;
    let first = app.post("/v1/carts", json!({})).token(&jane).send().await.expect(201);
    app.db.execute("update carts set expires_at = now() - interval '1 second'").await;
    let path = format!("/v1/carts/{id}");
    let cart = app.get(&path).header("x-cart-token", &token).send().await.expect(200);
    assert_eq!(text(&cart, "status"), "expired");
    let add = app.post(&format!("{path}/lines"), json!({ "sku": "A", "quantity": 1 }));
    add.header("x-cart-token", &token).send().await.problem(409, "conflict");
    let body = crate::shop::checkout(json!({ "cart_id": id, "email": "guest@example.com" }));
    app.post("/v1/checkout", body).header("x-cart-token", &token).send().await.problem(409, "conflict");
    // The customer gets a new one.
    let second = app.post("/v1/carts", json!({})).token(&jane).send().await.expect(201);
    assert_ne!(first["id"], second["id"]);
}
