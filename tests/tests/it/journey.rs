//! One order from the catalogue to the mail.

use anyhow::ensure;
use reqwest::StatusCode;
use serde_json::json;
use waybill_tests::{Plan, System, shop::checkout, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_confirmed_paid_mailed_and_its_trail_tells_all() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let (buyer, _) = system.anybody.register("ada@example.com").await?;

    let order = system.place(&buyer, &checkout(&[("MUG-1", 3)], "tok_visa")).await?;
    ensure!(order["status"] == "pending" && order["total"]["amount"] == "22.95", "{order}");
    let order = system.settled(&order).await?;
    ensure!(order["status"] == "confirmed" && order["payment"]["status"] == "captured", "{order}");
    ensure!(system.stock("MUG-1").await? == (7, 0));
    system.at_rest().await?;

    let id = order["id"].as_str().unwrap();
    let trail = buyer.read(&format!("/v1/orders/{id}/trail")).await?;
    let told: Vec<(String, String)> = trail["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["source"].as_str().unwrap().to_owned(), e["kind"].as_str().unwrap().to_owned()))
        .collect();
    for (source, kind) in [
        ("order", "accepted"),
        ("stock", "reservation"),
        ("order", "reserved"),
        ("order", "authorized"),
        ("order", "captured"),
        ("stock", "sale"),
        ("order", "completed"),
        ("job", "checkout.run"),
        ("event", "order.placed"),
        ("event", "order.confirmed"),
        ("pipeline", "notifications"),
        ("mail", "order_confirmed"),
    ] {
        ensure!(told.iter().any(|(s, k)| s == source && k == kind), "no {source} {kind} in {trail}");
    }
    ensure!(system.mails_written()? >= 1, "no mail was written");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_card_gives_the_stock_back_and_says_why() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let (buyer, _) = system.anybody.register("ada@example.com").await?;
    let order = system.place(&buyer, &checkout(&[("MUG-1", 3)], "tok_insufficient_funds")).await?;
    let order = system.settled(&order).await?;
    ensure!(order["status"] == "cancelled" && order["reason_code"] == "payment_declined", "{order}");
    ensure!(system.stock("MUG-1").await? == (10, 0));
    system.at_rest().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_everything_happens_all_the_same() -> anyhow::Result<()> {
    let system = System::start(Plan { broker: None, ..Plan::default() }).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let (buyer, _) = system.anybody.register("ada@example.com").await?;
    let order = system.place(&buyer, &checkout(&[("MUG-1", 1)], "tok_visa")).await?;
    let order = system.settled(&order).await?;
    ensure!(order["status"] == "confirmed", "{order}");
    system.at_rest().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_checkouts_of_one_cart_make_one_order_and_one_capture() -> anyhow::Result<()> {
    let system = System::start(Plan::default().workers(2)).await?;
    system.sell("MUG-1", "7.65", 10).await?;
    let (buyer, _) = system.anybody.register("ada@example.com").await?;
    let (status, cart) = buyer.post("/v1/carts", &json!({})).await?;
    ensure!(status == StatusCode::CREATED, "{cart}");
    let cart_id = cart["id"].as_str().unwrap();
    let line = json!({ "sku": "MUG-1", "quantity": 2 });
    let (status, body) = buyer.post(&format!("/v1/carts/{cart_id}/lines"), &line).await?;
    ensure!(status.is_success(), "{body}");
    let body = json!({ "cart_id": cart_id, "shipping_address": waybill_tests::shop::address(),
                       "payment": { "token": "tok_visa" } });
    let answers = futures::future::try_join_all((0..5).map(|_| buyer.post("/v1/checkout", &body))).await?;
    let first = &answers[0].1["id"];
    for (status, order) in &answers {
        ensure!(*status == StatusCode::ACCEPTED && order["id"] == *first, "{status} {order}");
    }
    system.settled(&answers[0].1).await?;
    system.at_rest().await?;
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["captures"] == 1, "{gateway}");
    ensure!(system.stock("MUG-1").await? == (8, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_buyers_of_fifty_units_get_exactly_fifty() -> anyhow::Result<()> {
    let system = System::start(Plan::default().workers(2)).await?;
    system.sell("RARE", "10.00", 50).await?;
    // Guests: two hundred registrations would only measure the password hash.
    let orders = futures::future::try_join_all((0..200).map(|number| {
        let mut body = checkout(&[("RARE", 1)], "tok_visa");
        body["email"] = json!(format!("buyer-{number}@example.com"));
        let system = &system;
        async move { system.place(&system.anybody, &body).await }
    }))
    .await?;
    let mut confirmed = 0;
    for order in &orders {
        let order = system.settled(order).await?;
        match order["status"].as_str() {
            Some("confirmed") => confirmed += 1,
            _ => ensure!(order["reason_code"] == "out_of_stock", "{order}"),
        }
    }
    ensure!(confirmed == 50, "{confirmed} orders confirmed");
    ensure!(system.stock("RARE").await? == (0, 0));
    system.at_rest().await?;
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["authorizations"] == 50, "somebody without a unit was asked for money: {gateway}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_takes_the_good_rows_and_names_the_bad() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    let csv = "sku,name,price\nA-1,Lantern,3.39\n,No code,1.00\nA-2,Bag,free\nA-3,Bottle,2.10\n";
    let form = reqwest::multipart::Form::new()
        .text("kind", "products")
        .part("file", reqwest::multipart::Part::text(csv).file_name("catalogue.csv").mime_str("text/csv")?);
    let request = system.admin.request(reqwest::Method::POST, "/v1/admin/imports").multipart(form);
    let (status, import) = waybill_tests::client::answer(request).await?;
    ensure!(status == StatusCode::ACCEPTED, "{status} {import}");
    let path = format!("/v1/admin/imports/{}", import["id"].as_str().unwrap());
    let done = until("the import", async || {
        let import = system.admin.read(&path).await?;
        Ok(if import["status"] == "completed" { Ok(import) } else { Err(import.to_string()) })
    })
    .await?;
    ensure!(done["rows_created"] == 2 && done["rows_failed"] == 2, "{done}");
    let (_, errors) = system.admin.get(&format!("{path}/errors")).await?;
    let errors = errors.as_str().unwrap_or_default().to_owned();
    ensure!(errors.contains("3,sku") && errors.contains("4,price"), "{errors}");
    until("the products to be found", async || {
        let found = system.anybody.read("/v1/search?q=lantern").await?;
        Ok(if found["data"].as_array().is_some_and(|d| !d.is_empty()) {
            Ok(())
        } else {
            Err(found.to_string())
        })
    })
    .await?;
    Ok(())
}
