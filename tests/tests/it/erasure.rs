//! Erasing what jobs know of a person, after real orders.

use anyhow::{Context as _, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use waybill_tests::{
    Client, Plan, System,
    receiver::{OPEN, Receiver},
    shop::checkout,
};

async fn buy(system: &System, buyer: &Client, email: Option<&str>) -> anyhow::Result<String> {
    let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
    body["reference"] = json!("for my aunt Lovelace");
    if let Some(email) = email {
        body["email"] = json!(email);
    }
    let order = system.place(buyer, &body).await?;
    let order = system.settled(&order).await?;
    ensure!(order["status"] == "confirmed", "{order}");
    Ok(order["id"].as_str().context("no id")?.to_owned())
}

/// Where the job platform still knows something of a person.
async fn mentions(system: &System, what: &str) -> anyhow::Result<Vec<&'static str>> {
    let mut found = Vec::new();
    for table in [
        "jobs",
        "job_history",
        "dead_letters",
        "job_logs",
        "event_log",
        "outbox",
        "webhook_deliveries",
        "webhook_attempts",
        "mails",
    ] {
        let query = format!("select count(*) as n from {table} t where t::text like '%{what}%'");
        if system.count(&query).await? > 0 {
            found.push(table);
        }
    }
    Ok(found)
}

async fn erase(system: &System, id: &str) -> anyhow::Result<Value> {
    let (status, erased) = system.admin.post(&format!("/v1/admin/people/{id}/erase"), &json!({})).await?;
    ensure!(status == StatusCode::OK, "{status} {erased}");
    Ok(erased)
}

/// Jobs about a person that are over and not emptied.
fn whole(subject: &str) -> String {
    format!("select count(*) as n from job_history where subject_id = '{subject}' and erased_at is null")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_and_a_guest_are_erased_from_the_jobs_of_their_orders() -> anyhow::Result<()> {
    // Without a broker the events of the orders are jobs too.
    let system = System::start(Plan { broker: None, ..Plan::default() }).await?;
    system.sell("MUG-1", "7.65", 1_000).await?;
    let receiver = Receiver::start(&[], OPEN).await?;
    system.tell(&receiver.url, &[]).await?;
    let (ada, ada_id) = system.anybody.register("ada@lovelace.example").await?;
    buy(&system, &ada, None).await?;
    let guest = buy(&system, &system.anybody, Some("guest@babbage.example")).await?;
    let (eve, eve_id) = system.anybody.register("eve@adams.example").await?;
    buy(&system, &eve, None).await?;
    system.at_rest().await?;
    for count in [
        "select count(*) as n from jobs where kind <> 'housekeeping.expire_checkouts' and queue <> 'housekeeping'",
        "select count(*) as n from outbox",
    ] {
        system.until_count("all is done", count, 0).await?;
    }

    // A checkout, the mails of the account and of the order, and the deliveries of its events are about the customer.
    for kind in ["checkout.run", "mail.send", "webhook.deliver"] {
        for person in [&ada_id, &guest] {
            let about = format!(
                "select count(*) as n from job_history where subject_id = '{person}' and kind = '{kind}'"
            );
            ensure!(system.count(&about).await? > 0, "{kind} of {person}");
        }
    }
    ensure!(mentions(&system, "ada@lovelace").await? == ["mails"]);
    let kept = mentions(&system, "aunt Lovelace").await?;
    ensure!(kept.contains(&"event_log") && kept.contains(&"webhook_deliveries"), "{kept:?}");

    let erased = erase(&system, &ada_id).await?;
    ensure!(erased["live"] == 0 && erased["mails"] == 2 && erased["jobs"].as_i64() > Some(4), "{erased}");
    ensure!(mentions(&system, "ada@lovelace").await?.is_empty());
    ensure!(system.count(&whole(&ada_id)).await? == 0);
    ensure!(
        system.count(&whole(&eve_id)).await? > 0 && system.count(&whole(&guest)).await? > 0,
        "nobody else"
    );
    let again = erase(&system, &ada_id).await?;
    ensure!(again["jobs"] == 0 && again["mails"] == 0 && again["events"] == 0, "{again}");

    // A guest has no other id than their order's.
    erase(&system, &guest).await?;
    ensure!(mentions(&system, "guest@babbage").await?.is_empty());
    ensure!(system.count(&whole(&guest)).await? == 0);
    ensure!(mentions(&system, "eve@adams").await? == ["mails"]);
    erase(&system, &eve_id).await?;
    let left = mentions(&system, "aunt Lovelace").await?;
    ensure!(left.is_empty(), "{left:?}");

    // It is on record, is no machine's business, and a slip of the pen is told.
    let actions = system.admin.read("/v1/admin/system/actions?limit=10").await?.to_string();
    ensure!(actions.contains("person.erase") && actions.contains(&ada_id), "{actions}");
    let nobody = "/v1/admin/people/01900000-0000-7000-8000-00000000000a/erase";
    ensure!(system.admin.post(nobody, &json!({})).await?.0 == StatusCode::NOT_FOUND);
    let key = system.key(&["system:write"]).await?;
    let (status, _) = key.post(&format!("/v1/admin/people/{ada_id}/erase"), &json!({})).await?;
    ensure!(status == StatusCode::FORBIDDEN, "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_at_the_broker_counts_until_it_is_handled_and_erased() -> anyhow::Result<()> {
    let mut system =
        System::start(Plan::with(&[("WAYBILL_WORKER__PIPELINES", "notifications,indexing")])).await?;
    ensure!(system.exchange.is_some(), "the run has no broker");
    system.sell("MUG-1", "7.65", 1_000).await?;
    let receiver = Receiver::start(&[], OPEN).await?;
    system.tell(&receiver.url, &[]).await?;
    let (ada, ada_id) = system.anybody.register("ada@lovelace.example").await?;
    buy(&system, &ada, None).await?;
    // All that is left are two events of the order, in the queue of a pipeline that nobody serves.
    let busy = "select (select count(*) from outbox)
                     + (select count(*) from jobs where queue not in ('housekeeping', 'events.webhooks'))
                     + (select count(*) from event_log e, unnest(e.pipelines) p
                        where p <> 'webhooks' and not exists (
                            select from inbox i where i.pipeline = p and i.event_id = e.id)) as n";
    system.until_count("all else is done", busy, 0).await?;
    let erased = erase(&system, &ada_id).await?;
    ensure!(erased["live"] == 2 && erased["events"].as_i64() > Some(0), "{erased}");
    let left = mentions(&system, "aunt Lovelace").await?;
    ensure!(left.is_empty(), "what is in the tables is erased, but for {left:?}");

    system.add_worker(&[("WAYBILL_WORKER__PIPELINES", "webhooks")]).await?;
    let delivered = "select count(*) as n from webhook_deliveries d where status = 'delivered'
                     and exists (select from orders o where o.id = d.correlation_id)";
    system.until_count("the events of the order are delivered", delivered, 2).await?;
    let answer = "with answered as (update webhook_attempts set body = 'thanks, aunt Lovelace' returning 1)
                  select count(*) as n from answered";
    ensure!(system.count(answer).await? > 1);
    ensure!(mentions(&system, "aunt Lovelace").await? == ["webhook_deliveries", "webhook_attempts"]);
    // Until the delivering jobs are committed too.
    let jobs = "select count(*) as n from jobs where kind = 'webhook.deliver'";
    system.until_count("the deliveries are over", jobs, 0).await?;
    let erased = erase(&system, &ada_id).await?;
    ensure!(erased["live"] == 0 && erased["deliveries"] == 2, "{erased}");
    let left = mentions(&system, "aunt Lovelace").await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
