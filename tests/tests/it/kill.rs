//! A worker killed at every step of the checkout, and what another makes of it.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waybill_tests::{Plan, System, shop::checkout, until};

/// Starts a worker with settings of its own and waits until it has died at `point`.
pub async fn dies_at(system: &mut System, point: &str, settings: &[(&str, &str)]) -> anyhow::Result<()> {
    let arm = format!("{point}=kill:1");
    let mut all = settings.to_vec();
    all.push(("WAYBILL_FAIL_POINTS", arm.as_str()));
    let said = match system.add_worker(&all).await {
        // Before it said where it listens.
        Err(error) => format!("{error:#}"),
        Ok(()) => {
            let mut victim = system.workers.pop().context("no worker")?;
            until(&format!("the worker to die at {point}"), async || {
                Ok(if victim.has_ended()? { Ok(()) } else { Err(victim.log()) })
            })
            .await?;
            victim.log()
        }
    };
    ensure!(said.contains("fail point") && said.contains(point), "it died of something else: {said}");
    Ok(())
}

/// Kills a worker at `point` while it carries an order, lets another finish, and returns the order. `mails` have been sent
/// then: an event still waits at the broker when the database is at rest, and needs a worker.
async fn killed_at(system: &mut System, point: &str, token: &str, mails: usize) -> anyhow::Result<Value> {
    let arm = format!("{point}=kill:1");
    system.add_worker(&[("WAYBILL_FAIL_POINTS", arm.as_str())]).await?;
    let mut body = checkout(&[("MUG-1", 2)], token);
    body["email"] = json!("ada@example.com");
    let order = system.place(&system.anybody, &body).await?;
    let mut victim = system.workers.pop().context("no worker")?;
    until(&format!("the worker to die at {point}"), async || {
        Ok(if victim.has_ended()? { Ok(()) } else { Err(victim.log()) })
    })
    .await?;
    system.add_worker(&[]).await?;
    let order = system.settled(&order).await.with_context(|| format!("after a kill at {point}"))?;
    let sent = "select count(*) as n from mails where status = 'sent'";
    system.until_count(&format!("a mail after a kill at {point}"), sent, i64::try_from(mails)?).await?;
    system.at_rest().await.with_context(|| format!("after a kill at {point}"))?;
    let mut worker = system.workers.pop().context("no worker")?;
    ensure!(worker.stop().await?, "the worker did not stop well: {}", worker.log());
    Ok(order)
}

/// What must be true after each order: its pieces are sold once, or not at all, and so is its money.
async fn walk(fault: Option<Value>, points: &[&str], token: &str, end: &str) -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    system.sell("MUG-1", "7.65", 1_000).await?;
    if let Some(fault) = fault {
        system.fault(fault).await?;
    }
    let mut left = 1_000;
    for (place, point) in points.iter().enumerate() {
        let order = killed_at(&mut system, point, token, place + 1).await?;
        ensure!(order["status"] == end, "after a kill at {point}: {order}");
        if end == "confirmed" {
            left -= 2;
        }
        ensure!(system.stock("MUG-1").await? == (left, 0), "stock after a kill at {point}");
    }
    let gateway = system.gateway_summary().await?;
    let captures = if end == "confirmed" { points.len() } else { 0 };
    ensure!(gateway["captures"] == captures, "{gateway}");
    let mails = format!("select count(*) as n from mails where template = 'order_{end}' and status = 'sent'");
    ensure!(system.count(&mails).await? == i64::try_from(points.len())?);
    ensure!(system.count("select count(*) as n from mails").await? == i64::try_from(points.len())?);
    ensure!(system.mails_written()? >= points.len(), "a mail was said to be sent and was not");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_the_money_is_held() -> anyhow::Result<()> {
    let points = [
        "checkout.loaded",
        "checkout.before_reserve",
        "checkout.reserving",
        "checkout.after_reserve",
        "before_authorize_call",
        "after_authorize_call",
    ];
    walk(None, &points, "tok_visa", "confirmed").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_the_order_is_confirmed() -> anyhow::Result<()> {
    let points = [
        "checkout.after_authorized",
        "before_capture_call",
        "after_capture_call",
        "checkout.before_complete",
        "checkout.completing",
        "checkout.after_complete",
    ];
    walk(None, &points, "tok_visa", "confirmed").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_declined_order_is_undone() -> anyhow::Result<()> {
    let points = ["checkout.before_turn_back", "checkout.turning_back", "checkout.after_turn_back"];
    walk(None, &points, "tok_declined", "cancelled").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_money_that_is_held_is_let_go() -> anyhow::Result<()> {
    let points = [
        "checkout.after_turn_back",
        "before_void_call",
        "after_void_call",
        "checkout.after_money_back",
        "checkout.before_cancel",
        "checkout.cancelling",
        "checkout.after_cancel",
    ];
    // Held, then declined when it is to be taken.
    let fault = json!({ "fault": "decline", "operation": "capture", "times": 1000 });
    walk(Some(fault), &points, "tok_visa", "cancelled").await
}
