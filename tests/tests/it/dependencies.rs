//! A payment gateway and a mail server that are down: what needs them waits, and all else goes on.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waybill_tests::{Client, Plan, System, until};

use crate::operator::Operator;

const DEPENDENCIES: &str = "/v1/admin/system/dependencies";
const HELD: &str =
    "select count(*) as n from jobs where kind = 'checkout.run' and hold = 'needs:gateway.sandbox'";
/// Neither held, nor the one that tries.
const LOOSE: &str = "select count(*) as n from jobs j where kind = 'checkout.run' and hold is null
                     and not exists (select from dependencies where probe_id = j.id)";

async fn gateway(system: &System) -> anyhow::Result<Value> {
    let list = system.admin.read(DEPENDENCIES).await?;
    let known = list["data"].as_array().into_iter().flatten();
    Ok(known.into_iter().find(|row| row["name"] == "gateway.sandbox").cloned().unwrap_or_default())
}

/// Waits until the gateway is known to be down, and every checkout is held but the one that tries.
async fn all_held(system: &System) -> anyhow::Result<Value> {
    until("every checkout to be held", async || {
        let (loose, gateway) = (system.count(LOOSE).await?, gateway(system).await?);
        Ok(if gateway["down"] == true && loose == 0 {
            Ok(gateway)
        } else {
            Err(format!("{loose} {gateway}"))
        })
    })
    .await
    .with_context(|| system.logs())
}

async fn one_attempt_each(system: &System, orders: i64) -> anyhow::Result<()> {
    let once = "select count(*) as n from job_history where kind = 'checkout.run' and attempt = 1";
    ensure!(system.count(once).await? == orders, "an outage spends no attempts");
    ensure!(system.count("select count(*) as n from dead_letters").await? == 0);
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["captures"] == orders && gateway["authorizations"] == orders, "{gateway}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_wait_while_the_gateway_is_down_and_one_at_a_time_tries() -> anyhow::Result<()> {
    let system = System::start(Plan::default().workers(2)).await?;
    system.sell("MUG-1", "7.65", 1_000).await?;
    // Each call hangs until its caller has had enough, a second: two that try in the same rest meet.
    system.fault(json!({ "fault": "timeout", "times": 1_000_000 })).await?;
    let mut orders = system.place_many(12).await?;
    all_held(&system).await?;
    // All that called before it was known has come back. From now on only those whose turn it is may call.
    let since = "select extract(epoch from clock_timestamp())::bigint + 1 as n";
    let since = system.count(since).await?;
    let calls = format!(
        "select (c ->> 'at')::timestamptz as began,
                (c ->> 'at')::timestamptz + (c ->> 'ms')::float8 * interval '1 ms' as ended
         from effects, jsonb_array_elements(calls) c
         where c ->> 'outcome' = 'unknown' and (c ->> 'at')::timestamptz > to_timestamp({since})"
    );
    orders.extend(system.place_many(20).await?);
    until("some tries", async || {
        let tries = system.count(&format!("select count(*) as n from ({calls}) c")).await?;
        Ok(if tries >= 3 { Ok(()) } else { Err(format!("{tries}")) })
    })
    .await?;
    let gateway = all_held(&system).await?;
    ensure!(gateway["waiting"].as_i64() >= Some(31), "{gateway}");
    let pending = "select count(*) as n from orders where status = 'pending' and step = 'reserved'";
    ensure!(system.count(pending).await? == 32, "each has its stock and waits");
    let together = format!(
        "with calls as materialized ({calls}), turns as (select began, lag(ended) over (order by began) as before from calls)
         select count(*) as n from turns where began < before"
    );
    ensure!(system.count(&together).await? == 0, "two tried at a time");

    system.no_more_faults().await?;
    system.confirmed(&orders).await?;
    system.at_rest().await?;
    one_attempt_each(&system, 32).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_does_not_leave_the_gateway_down() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default()).await?;
    system.sell("MUG-1", "7.65", 1_000).await?;
    system.fault(json!({ "fault": "error_500", "times": 1_000_000 })).await?;
    let mut orders = system.place_many(10).await?;
    all_held(&system).await?;
    // The only one who knows, in the middle of whatever it is at; perhaps it is the one that tries.
    system.workers[0].kill().await?;
    orders.extend(system.place_many(5).await?);
    system.no_more_faults().await?;
    system.add_worker(&[]).await?;
    system.confirmed(&orders).await?;
    ensure!(gateway(&system).await?["down"] == false);
    system.at_rest().await?;
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["captures"] == 15, "{gateway}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_has_the_last_word_on_the_gateway() -> anyhow::Result<()> {
    let long = [("WAYBILL_PAYMENTS__SANDBOX__BREAKER_OPEN_FOR", "1h")];
    let system = System::start(Plan::with(&long).workers(2)).await?;
    system.sell("MUG-1", "7.65", 1_000).await?;
    // Beforehand: the gateway is well, and nobody calls it.
    let body = json!({ "for_seconds": 3600, "reason": "the provider's maintenance" });
    let (status, down) = system.admin.post(&format!("{DEPENDENCIES}/gateway.sandbox/down"), &body).await?;
    ensure!(status.is_success() && down["down"] == true, "{down}");
    let mut orders = system.place_many(6).await?;
    system.until_count("all are held", HELD, 6).await?;
    let gauges = Client::new(&format!("http://{}", system.scheduler.address))?;
    until("the scheduler to tell", async || {
        let (_, metrics) = gauges.get("/metrics").await?;
        let metrics = metrics.as_str().unwrap_or_default();
        let told = [
            "waybill_outage{dependency=\"gateway.sandbox\"} 1",
            "waybill_outage_jobs{dependency=\"gateway.sandbox\"} 6",
        ];
        Ok(if told.iter().all(|gauge| metrics.contains(gauge)) { Ok(()) } else { Err(metrics.to_owned()) })
    })
    .await?;
    let summary = system.gateway_summary().await?;
    ensure!(summary["authorizations"] == 0, "{summary}");
    let (status, up) = system.admin.post(&format!("{DEPENDENCIES}/gateway.sandbox/up"), &json!({})).await?;
    ensure!(status.is_success() && up["down"] == false, "{up}");
    system.confirmed(&orders).await?;

    // Afterwards: it was found down for an hour, and an operator knows better.
    system.fault(json!({ "fault": "error_500", "times": 1_000_000 })).await?;
    orders.extend(system.place_many(12).await?);
    all_held(&system).await?;
    system.no_more_faults().await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    let list = operator.well("dependencies").await?;
    ensure!(list.contains("gateway.sandbox") && list.contains("500"), "{list}");
    operator.well("dependencies up gateway.sandbox").await?;
    system.confirmed(&orders).await?;
    system.at_rest().await?;
    one_attempt_each(&system, 18).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_goes_back_in_time_while_the_gateway_is_down() -> anyhow::Result<()> {
    let settings = [("WAYBILL_CHECKOUT__RESERVATION_TTL", "5s"), ("WAYBILL_CHECKOUT__STOCK_WAIT", "1s")];
    let system = System::start(Plan::with(&settings).workers(2)).await?;
    system.sell("MUG-1", "7.65", 1_000).await?;
    let body = json!({ "for_seconds": 3600 });
    system.admin.post(&format!("{DEPENDENCIES}/gateway.sandbox/down"), &body).await?;
    let orders = system.place_many(8).await?;
    for order in &orders {
        let order = system.settled(order).await?;
        ensure!(order["status"] == "cancelled" && order["reason_code"] == "reservation_expired", "{order}");
    }
    ensure!(system.stock("MUG-1").await? == (1_000, 0));
    system.at_rest().await?;
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["authorizations"] == 0, "{gateway}");
    Ok(())
}
