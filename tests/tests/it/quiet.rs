//! Quieting one worker from outside: it takes nothing more, by neither lane, and others do the work.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waybill_tests::{Plan, System, shop::checkout, until};

use crate::operator::Operator;

/// Attempts of jobs and events that a worker's process has begun, by its own count.
async fn begun(system: &System, worker: usize) -> anyhow::Result<(f64, f64)> {
    let url = format!("http://{}/metrics", system.workers[worker].address);
    let text = reqwest::get(url).await?.error_for_status()?.text().await?;
    let sum = |name: &str| {
        text.lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    Ok((sum("waybill_jobs_started_total{"), sum("waybill_events_handled_total{")))
}

/// The worker's row, by its process.
async fn row(system: &System, operator: &Operator, worker: usize) -> anyhow::Result<Value> {
    let pid = system.workers[worker].pid()?.as_raw();
    let workers = operator.json("workers").await?;
    let rows = workers["data"].as_array().context("no data")?;
    rows.iter().find(|row| row["pid"] == pid).cloned().with_context(|| workers.to_string())
}

async fn buy(system: &System) -> anyhow::Result<()> {
    let orders = (0..5).map(|number| async move {
        let mut body = checkout(&[("MUG-1", 1)], "tok_visa");
        body["email"] = json!(format!("buyer-{number}@example.com"));
        let order = system.place(&system.anybody, &body).await?;
        let order = system.settled(&order).await?;
        ensure!(order["status"] == "confirmed", "{order}");
        Ok(())
    });
    futures::future::try_join_all(orders).await?;
    system.at_rest().await?;
    Ok(())
}

async fn quiet_one_then_the_other(plan: Plan) -> anyhow::Result<()> {
    let by_broker = plan.broker.is_some();
    let system = System::start(plan.workers(2)).await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    system.sell("MUG-1", "7.65", 1_000).await?;
    buy(&system).await?;
    for (still, busy) in [(0, 1), (1, 0)] {
        let id = row(&system, &operator, still).await?["id"].as_str().context("no id")?.to_owned();
        operator.well(&format!("workers quiet {id}")).await?;
        until("the worker to be quiet", async || {
            let row = row(&system, &operator, still).await?;
            Ok(if row["dry"] == true { Ok(()) } else { Err(row.to_string()) })
        })
        .await?;
        let before = (begun(&system, still).await?, begun(&system, busy).await?);
        for _ in 0..3 {
            buy(&system).await?;
        }
        let after = (begun(&system, still).await?, begun(&system, busy).await?);
        ensure!(before.0 == after.0, "it took something: {before:?} {after:?}");
        ensure!(
            after.1.0 > before.1.0 && after.1.1 > before.1.1,
            "the other does both: {before:?} {after:?}"
        );
        operator.well(&format!("workers resume {id}")).await?;
        // At the broker the other one keeps the events, as their one active consumer: that this one takes them over is seen in
        // the next round, when the other is quiet.
        until("the worker to take jobs again, and events that come as jobs", async || {
            buy(&system).await?;
            let now = begun(&system, still).await?;
            let works = now.0 > after.0.0 && (by_broker || now.1 > after.0.1);
            Ok(if works { Ok(()) } else { Err(format!("{after:?} {now:?}")) })
        })
        .await?;
        ensure!(row(&system, &operator, still).await?["state"] == "running");
    }
    operator.fails("workers quiet 00000000-0000-7000-8000-00000000000f", 2, "404").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_worker_takes_neither_jobs_nor_messages() -> anyhow::Result<()> {
    quiet_one_then_the_other(Plan::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_events_that_come_as_jobs() -> anyhow::Result<()> {
    quiet_one_then_the_other(Plan { broker: None, ..Plan::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_of_a_running_worker_are_set_and_seen() -> anyhow::Result<()> {
    let system = System::start(Plan::default()).await?;
    let operator = Operator::of(&system, &["system:read", "system:write"]).await?;
    let places = async |what: &str, configured: Option<i64>, now: Option<i64>| {
        until(what, async || {
            let row = row(&system, &operator, 0).await?;
            let rows = row["places"].as_array().context("no places")?;
            let mail = rows.iter().find(|place| place["queue"] == "mail").cloned().unwrap_or_default();
            let found = (mail["configured"].as_i64(), mail["now"].as_i64());
            let as_wanted = found.0.is_some()
                && found.1 == now.or(found.0)
                && configured.is_none_or(|c| found.0 == Some(c));
            Ok(if as_wanted { Ok(found.0) } else { Err(row["places"].to_string()) })
        })
        .await
    };
    let configured = places("the worker to say what it was started with", None, None).await?;
    let id = row(&system, &operator, 0).await?["id"].as_str().context("no id")?.to_owned();
    operator.well(&format!("queues concurrency mail 3 --worker {id}")).await?;
    places("three places", configured, Some(3)).await?;
    let shown = operator.well("workers").await?;
    ensure!(shown.contains("configured  now  running"), "{shown}");
    operator.well(&format!("queues concurrency mail default --worker {id}")).await?;
    places("as many as before", configured, None).await?;
    operator.fails("queues concurrency events.webhooks 3", 2, "batches").await?;
    operator.fails(&format!("queues concurrency mail 3 --worker {}", id.replace('7', "8")), 2, "404").await?;
    Ok(())
}
