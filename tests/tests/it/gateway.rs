//! A payment gateway that misbehaves.

use anyhow::ensure;
use futures::future::try_join_all;
use serde_json::{Value, json};
use waybill_tests::{Plan, System, shop::checkout};

async fn shop() -> anyhow::Result<System> {
    let system = System::start(Plan::default()).await?;
    system.sell("MUG-1", "7.65", 1_000).await?;
    Ok(system)
}

async fn buy(system: &System, token: &str) -> anyhow::Result<Value> {
    let mut body = checkout(&[("MUG-1", 2)], token);
    body["email"] = json!("ada@example.com");
    let order = system.place(&system.anybody, &body).await?;
    system.settled(&order).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_asked_for_and_nobody_is_charged_twice() -> anyhow::Result<()> {
    let system = shop().await?;
    for operation in ["authorize", "capture"] {
        system.fault(json!({ "fault": "lost_answer", "operation": operation })).await?;
        let order = buy(&system, "tok_visa").await?;
        ensure!(order["status"] == "confirmed", "{operation}: {order}");
    }
    system.at_rest().await?;
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["captures"] == 2 && gateway["authorizations"] == 2, "{gateway}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_timeouts_are_waited_out() -> anyhow::Result<()> {
    let system = shop().await?;
    for fault in ["error_500", "timeout"] {
        for operation in ["authorize", "capture"] {
            system.fault(json!({ "fault": fault, "operation": operation, "times": 2 })).await?;
            let order = buy(&system, "tok_visa").await?;
            ensure!(order["status"] == "confirmed", "{fault} {operation}: {order}");
        }
    }
    system.at_rest().await?;
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["captures"] == 4, "{gateway}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_may_come_twice_late_or_never() -> anyhow::Result<()> {
    let system = shop().await?;
    system.fault(json!({ "fault": "duplicate_webhook", "times": 4 })).await?;
    system.fault(json!({ "fault": "out_of_order_webhook", "times": 4 })).await?;
    system.fault(json!({ "fault": "drop_webhook", "times": 2 })).await?;
    let orders = try_join_all((0..6).map(|_| buy(&system, "tok_visa"))).await?;
    ensure!(orders.iter().all(|order| order["status"] == "confirmed"));
    system.at_rest().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_stays_away_costs_nobody_anything() -> anyhow::Result<()> {
    let settings = vec![
        ("WAYBILL_CHECKOUT__RESERVATION_TTL", "5s".to_owned()),
        ("WAYBILL_CHECKOUT__STOCK_WAIT", "1s".to_owned()),
    ];
    let system = System::start(Plan { settings, ..Plan::default() }).await?;
    system.sell("MUG-1", "7.65", 1_000).await?;
    system.fault(json!({ "fault": "timeout", "operation": "capture", "times": 1000 })).await?;
    let order = buy(&system, "tok_visa").await?;
    ensure!(order["status"] == "cancelled", "{order}");
    ensure!(system.stock("MUG-1").await? == (1_000, 0));
    system.at_rest().await?;
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["captures"] == 0 && gateway["voids"] == 1, "{gateway}");
    Ok(())
}
