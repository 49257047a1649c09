use serde_json::{Value, json};

use crate::support::{App, text};

fn gbp(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "GBP" })
}

#[tokio::test]
async fn a_product_is_made_with_everything() {
    let app = App::start().await;
    let admin = app.admin().await;
    let body = json!({
        "name": "Café Shirt", "status": "active", "brand": " Waybill ", "description": "Two\nlines",
        "featured": true, "attributes": { "fabric": "cotton", "wash": [30, 40] }, "weight_grams": 150,
        "options": ["Size", "Colour"],
        "variants": [
            { "sku": "S-RED", "price": gbp("19.90"), "compare_at_price": gbp("25"), "option_values": { "Size": "S", "Colour": "Red" } },
            { "sku": "M-RED", "price": gbp("21.5"), "option_values": { "Size": "M", "Colour": "Red" }, "active": false },
        ],
    });
    let answer = app.post("/v1/admin/products", body).token(&admin).send().await;
    let location = answer.header("location").unwrap().to_owned();
    let made = answer.expect(201);
    assert_eq!(made["slug"], "cafe-shirt");
    assert_eq!(made["brand"], "Waybill");
    assert_eq!(made["options"], json!(["Size", "Colour"]));
    assert_eq!(made["variants"][0]["title"], "S / Red");
    assert_eq!(made["variants"][0]["compare_at_price"], gbp("25.00"));
    assert_eq!(made["variants"][1]["price"], gbp("21.50"));
    // Only what is on sale counts.
    assert_eq!((&made["price_min"], &made["price_max"]), (&json!("19.90"), &json!("19.90")));
    assert_eq!(app.get(&location).token(&admin).send().await.expect(200), made);

    let public = app.get("/v1/products/cafe-shirt").send().await.expect(200);
    assert_eq!(public["variants"].as_array().unwrap().len(), 1);
    let events = app.db.count("select count(*) as n from outbox where topic = 'product.updated'");
    assert_eq!(events.await, 1);
}

#[tokio::test]
async fn every_fault_of_a_product_is_named() {
    let app = App::start().await;
    let admin = app.admin().await;
    app.product(&admin, "Taken", "TAKEN", "1").await;
    let body = json!({
        "name": "", "slug": "Not A Slug", "status": "gone", "options": ["Size", "size"], "weight_grams": -1,
        "variants": [
            { "sku": "A", "price": gbp("1.00001"), "option_values": { "Size": "S", "Colour": "Red" } },
            { "sku": "\u{7}", "price": { "amount": "-1", "currency": "pounds" }, "option_values": {} },
        ],
    });
    let faults = app.post("/v1/admin/products", body).token(&admin).send().await.faults();
    let fields: Vec<&str> = faults.iter().map(|(field, _)| field.as_str()).collect();
    for expected in [
        "name",
        "slug",
        "status",
        "options[1]",
        "weight_grams",
        "variants[0].price.amount",
        "variants[0].option_values.Colour",
        "variants[1].sku",
        "variants[1].price.currency",
        "variants[1].option_values.Size",
    ] {
        assert!(fields.contains(&expected), "{expected} is missing among {fields:?}");
    }

    let twice = json!({ "name": "Twice", "variants": [
        { "sku": "A", "price": gbp("1") }, { "sku": "A", "price": { "amount": "1", "currency": "EUR" } },
    ]});
    let faults = app.post("/v1/admin/products", twice).token(&admin).send().await.faults();
    let expected = [("variants[1].price.currency", "invalid"), ("variants[1].sku", "duplicate")];
    assert_eq!(faults, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));

    let taken = json!({ "name": "Other", "variants": [{ "sku": "TAKEN", "price": gbp("1") }] });
    let faults = app.post("/v1/admin/products", taken).token(&admin).send().await.faults();
    assert_eq!(faults, [("variants[0].sku".to_owned(), "taken".to_owned())]);

    let none = json!({ "name": "None", "variants": [] });
    app.post("/v1/admin/products", none).token(&admin).send().await.problem(422, "validation");
    let float =
        json!({ "name": "F", "variants": [{ "sku": "F", "price": { "amount": 1.5, "currency": "GBP" } }] });
    let faults = app.post("/v1/admin/products", float).token(&admin).send().await.faults();
    assert_eq!(faults, [("variants[0].price.amount".to_owned(), "type".to_owned())]);
    let category = json!({ "name": "C", "category_ids": ["01900000-0000-7000-8000-000000000000"], "variants": [{ "sku": "C", "price": gbp("1") }] });
    let faults = app.post("/v1/admin/products", category).token(&admin).send().await.faults();
    assert_eq!(faults, [("category_ids[0]".to_owned(), "not_found".to_owned())]);
    // Nothing of what was refused is there.
    assert_eq!(app.db.count("select count(*) as n from products").await, 1);
}

#[tokio::test]
async fn every_change_raises_the_version_keeps_the_prices_and_tells() {
    let app = App::start().await;
    let admin = app.admin().await;
    let product = app.product(&admin, "Thing", "T-1", "5.00").await;
    let path = format!("/v1/admin/products/{}", text(&product, "id"));
    let version = product["version"].as_i64().unwrap();

    let changed =
        app.patch(&path, json!({ "name": "Thing 2", "brand": "B" })).token(&admin).send().await.expect(200);
    assert_eq!((changed["version"].as_i64(), &changed["slug"]), (Some(version + 1), &json!("thing")));
    let changed = app.patch(&path, json!({ "brand": null })).token(&admin).send().await.expect(200);
    assert_eq!(changed["brand"], Value::Null);

    let add = json!({ "sku": "T-2", "price": gbp("9.00") });
    let second = app.post(&format!("{path}/variants"), add).token(&admin).send().await.expect(201);
    let second = format!("/v1/admin/variants/{}", text(&second, "id"));
    let now = app.get(&path).token(&admin).send().await.expect(200);
    assert_eq!((&now["price_min"], &now["price_max"]), (&json!("5.00"), &json!("9.00")));

    app.patch(&second, json!({ "price": gbp("2.00") })).token(&admin).send().await.expect(200);
    let euros = json!({ "price": { "amount": "2", "currency": "EUR" } });
    app.patch(&second, euros).token(&admin).send().await.problem(422, "validation");
    app.patch(&second, json!({ "sku": "T-1" })).token(&admin).send().await.problem(422, "validation");
    let now = app.get(&path).token(&admin).send().await.expect(200);
    assert_eq!(now["price_min"], "2.00");

    app.delete(&second).token(&admin).send().await.expect(204);
    app.delete(&second).token(&admin).send().await.problem(404, "not_found");
    let now = app.get(&path).token(&admin).send().await.expect(200);
    assert_eq!(now["price_min"], "5.00");
    assert_eq!(now["version"].as_i64(), Some(version + 5));
    let events = app.db.count("select count(*) as n from outbox where topic = 'product.updated'");
    assert_eq!(events.await, 6);

    app.patch(&path, json!({ "status": "inactive" })).token(&admin).send().await.expect(200);
    app.get("/v1/products/thing").send().await.problem(404, "not_found");
    let inactive = app.get("/v1/admin/products?status=inactive").token(&admin).send().await.expect(200);
    assert_eq!(inactive["data"][0]["slug"], "thing");
    app.get("/v1/admin/products?status=sold").token(&admin).send().await.problem(422, "validation");
}

#[tokio::test]
async fn what_has_stock_is_not_deleted() {
    let app = App::start().await;
    let admin = app.admin().await;
    let product = app.product(&admin, "Thing", "T-1", "5.00").await;
    let path = format!("/v1/admin/products/{}", text(&product, "id"));
    let variant = format!("/v1/admin/variants/{}", text(&product["variants"][0], "id"));
    app.stock(&admin, "T-1", 1).await;
    app.delete(&path).token(&admin).send().await.problem(409, "conflict");
    app.delete(&variant).token(&admin).send().await.problem(409, "conflict");
    app.stock(&admin, "T-1", 0).await;
    app.delete(&path).token(&admin).send().await.expect(204);
    app.get(&path).token(&admin).send().await.problem(404, "not_found");
}

#[tokio::test]
async fn the_catalogue_is_kept_by_those_who_may() {
    let app = App::start().await;
    let customer = app.register("c@example.com").await;
    let body = json!({ "rubbish": true });
    app.post("/v1/admin/products", body.clone()).send().await.problem(401, "unauthenticated");
    let customer = text(&customer, "access_token");
    app.post("/v1/admin/products", body).token(customer).send().await.problem(403, "forbidden");
}
