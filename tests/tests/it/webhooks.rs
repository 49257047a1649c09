//! Webhooks out, as a receiver sees them.

use anyhow::{Context as _, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_tests::{
    Plan, System,
    client::answer,
    receiver::{OPEN, Receiver},
    shop::checkout,
    until,
};

async fn buy(system: &System) -> anyhow::Result<Value> {
    let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
    body["email"] = json!("ada@example.com");
    let order = system.place(&system.anybody, &body).await?;
    system.settled(&order).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_signed_once_in_effect_and_again_after_a_failure() -> anyhow::Result<()> {
    let schedule = [("WAYBILL_WEBHOOKS__SCHEDULE", "50ms,50ms,50ms,50ms,50ms")];
    let system = System::start(Plan::with(&schedule)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let fickle = Receiver::start(&[500, 503], OPEN).await?;
    let endpoint = system.tell(&fickle.url, &["order.placed", "order.confirmed"]).await?;
    let secret = endpoint["secret"].as_str().context("the secret is told at creation")?;
    let path = format!("/v1/admin/webhook-endpoints/{}", endpoint["id"].as_str().context("no id")?);
    ensure!(system.admin.read(&path).await?["secret"].is_null(), "the secret is told once");
    let choosy = Receiver::start(&[], OPEN).await?;
    system.tell(&choosy.url, &["order.cancelled"]).await?;

    let order = buy(&system).await?;
    fickle.until("order.placed", 1).await?;
    fickle.until("order.confirmed", 1).await?;
    system.at_rest().await?;

    let posted = fickle.posted();
    ensure!(posted.len() == 4, "two events and two failures are four posts: {posted:#?}");
    ensure!(fickle.ids("order.placed").len() == 1 && fickle.ids("order.confirmed").len() == 1, "{posted:#?}");
    for post in &posted {
        post.verify(secret)?;
        let body = post.json()?;
        ensure!(body["id"] == post.id.as_str() && body["data"]["order_id"] == order["id"], "{body}");
        let mut forged = post.clone();
        forged.body = forged.body.replace("7.65", "0.65");
        ensure!(forged.body != post.body && forged.verify(secret).is_err(), "{forged:?}");
    }
    ensure!(choosy.posted().is_empty(), "{:?}", choosy.posted());

    let log = system.admin.read(&format!("{path}/deliveries")).await?;
    let deliveries = log["data"].as_array().context("no deliveries")?;
    ensure!(deliveries.len() == 2 && deliveries.iter().all(|d| d["status"] == "delivered"), "{log}");

    // By hand: a test, and one of them again under the same id.
    let (status, test) = system.admin.post(&format!("{path}/test"), &json!({})).await?;
    ensure!(status == StatusCode::ACCEPTED, "{status} {test}");
    fickle.until("webhook.test", 1).await?;
    let delivery = deliveries[0]["id"].as_str().context("no id")?;
    let resend = format!("/v1/admin/webhook-deliveries/{delivery}/resend");
    let (status, resent) = system.admin.post(&resend, &json!({})).await?;
    ensure!(status == StatusCode::ACCEPTED, "{status} {resent}");
    until("the second copy", async || {
        let posted = fickle.posted();
        let came = posted.len() == 6 && deliveries[0]["event_id"] == posted[5].id.as_str();
        Ok(if came { Ok(()) } else { Err(format!("{posted:?}")) })
    })
    .await?;

    // An endpoint that is gone gets nothing; the one beside it is told as before.
    let witness = Receiver::start(&[], OPEN).await?;
    system.tell(&witness.url, &["order.placed"]).await?;
    let (status, _) = answer(system.admin.request(Method::DELETE, &path)).await?;
    ensure!(status == StatusCode::NO_CONTENT, "{status}");
    buy(&system).await?;
    witness.until("order.placed", 1).await?;
    system.at_rest().await?;
    ensure!(fickle.posted().len() == 6, "{:?}", fickle.posted());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_receiver_keeps_nobody_else_waiting() -> anyhow::Result<()> {
    let settings = [
        ("WAYBILL_WEBHOOKS__MAX_PER_ENDPOINT", "2"),
        ("WAYBILL_WEBHOOKS__TIMEOUT", "60s"),
        ("WAYBILL_WORKER__QUEUES__WEBHOOKS", "4"),
    ];
    let system = System::start(Plan::with(&settings)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let slow = Receiver::start(&[], 0).await?;
    system.tell(&slow.url, &["order.placed"]).await?;
    let quick = Receiver::start(&[], OPEN).await?;
    system.tell(&quick.url, &["order.placed"]).await?;

    for _ in 0..12 {
        buy(&system).await?;
    }
    // The slow one has answered nothing yet, and has all that it may have in hand.
    quick.until("order.placed", 12).await?;
    ensure!(slow.posted().len() <= 2, "{} at a time", slow.posted().len());
    slow.open();
    slow.until("order.placed", 12).await?;
    system.at_rest().await?;
    ensure!(slow.posted().len() == 12 && quick.posted().len() == 12);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_limits_what_all_workers_together_send_to_one_receiver() -> anyhow::Result<()> {
    let system = System::start(Plan::with(&[("WAYBILL_WEBHOOKS__TIMEOUT", "60s")]).workers(2)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let slow = Receiver::start(&[], 0).await?;
    system.tell(&slow.url, &["order.placed"]).await?;
    let quick = Receiver::start(&[], OPEN).await?;
    system.tell(&quick.url, &["order.placed"]).await?;
    let body = json!({ "max_per_key": 1 });
    let (status, limits) = system.admin.put("/v1/admin/system/queues/webhooks/limits", &body).await?;
    ensure!(status.is_success(), "{status} {limits}");

    for _ in 0..8 {
        buy(&system).await?;
    }
    // One is in the hands of the slow one; the others are put aside, whatever worker claims.
    quick.until("order.placed", 8).await?;
    let held = "select count(*) as n from jobs where kind = 'webhook.deliver' and hold = 'key'";
    system.until_count("the other deliveries to be held", held, 7).await?;
    ensure!(slow.posted().len() == 1, "{} at a time", slow.posted().len());
    slow.open();
    slow.until("order.placed", 8).await?;
    system.at_rest().await?;
    ensure!(slow.posted().len() == 8 && quick.posted().len() == 8);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_on_private_addresses_are_refused() -> anyhow::Result<()> {
    let settings =
        [("WAYBILL_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES", "false"), ("WAYBILL_WEBHOOKS__SCHEDULE", "1ms")];
    let system = System::start(Plan::with(&settings)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    for url in [
        "http://127.0.0.1:9/",
        "http://localhost/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://user:password@example.com/",
        "ftp://example.com/",
        "nonsense",
    ] {
        let (status, body) = system.admin.post("/v1/admin/webhook-endpoints", &json!({ "url": url })).await?;
        ensure!(status == StatusCode::UNPROCESSABLE_ENTITY, "{url}: {status} {body}");
        ensure!(body["errors"][0]["field"] == "url", "{body}");
    }
    // One that got past the door, as by a name that leads inside, is stopped at the call.
    let inside = Receiver::start(&[], OPEN).await?;
    let body = json!({ "url": "http://public.example/hook", "event_types": ["order.placed"] });
    let (_, endpoint) = system.admin.post("/v1/admin/webhook-endpoints", &body).await?;
    let id = endpoint["id"].as_str().context("no id")?;
    let moved = format!("update webhook_endpoints set url = '{}'", inside.url);
    diesel_async::SimpleAsyncConnection::batch_execute(&mut system.connection().await?, &moved).await?;
    buy(&system).await?;
    let log = until("the delivery to fail", async || {
        let log = system.admin.read(&format!("/v1/admin/webhook-endpoints/{id}/deliveries")).await?;
        Ok(if log["data"][0]["status"] == "failed" { Ok(log) } else { Err(log.to_string()) })
    })
    .await?;
    ensure!(log.to_string().contains("not a public address"), "{log}");
    ensure!(inside.posted().is_empty(), "{:?}", inside.posted());
    Ok(())
}
