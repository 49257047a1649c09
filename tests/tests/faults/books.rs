//! Whether anything was lost or done twice, and how long it took to come right again.

use std::{collections::BTreeSet, time::Instant};

use anyhow::{Context as _, ensure};
use diesel_async::RunQueryDsl as _;
use waybill_tests::System;

use crate::load::{Load, PATIENCE, STOCK, place, wait_for};

/// Ends the load after a fault that is over since `healed`, waits until the system is at rest, looks at every book, and
/// prints how long it took: until an order placed after the fault was confirmed, and until nothing was left to do.
pub async fn recovered(system: &System, load: Load, fault: &str, healed: Instant) -> anyhow::Result<()> {
    let key: String = fault.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let fresh = place(&system.anybody, &format!("after-{key}")).await?;
    let fresh = fresh["id"].as_str().context("no id")?.to_owned();
    wait_for(&system.admin, &fresh).await.with_context(|| system.logs())?;
    let serves = healed.elapsed();
    let mut orders = load.finish().await.with_context(|| system.logs())?;
    orders.push(fresh);
    at_rest(system).await?;
    let rests = healed.elapsed();
    audit(system, &orders).await.with_context(|| fault.to_owned())?;
    println!(
        "recovery: {fault}: a new order confirmed after {:.2} s, nothing left to do after {:.2} s, {} orders",
        serves.as_secs_f64(),
        rests.as_secs_f64(),
        orders.len()
    );
    Ok(())
}

/// [`System::at_rest`] with more patience: what was retried during an outage comes back at its own time.
pub async fn at_rest(system: &System) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match system.at_rest().await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
        }
    }
}

/// Everything that can be counted is what these orders make it.
pub async fn audit(system: &System, orders: &[String]) -> anyhow::Result<()> {
    let placed = i64::try_from(orders.len())?;
    let different: BTreeSet<_> = orders.iter().collect();
    ensure!(different.len() == orders.len(), "two buyers were given one order");
    let expected = [
        ("orders", "select count(*) as n from orders", placed),
        ("confirmed orders", "select count(*) as n from orders where status = 'confirmed'", placed),
        (
            "mails",
            "select count(*) as n from mails where template = 'order_confirmed' and status = 'sent'",
            placed,
        ),
        (
            "checkouts that were done",
            "select count(*) as n from job_history where kind = 'checkout.run' and state = 'done'",
            placed,
        ),
        (
            "live jobs",
            "select count(*) as n from jobs where state <> 'scheduled' and queue <> 'housekeeping'",
            0,
        ),
        ("dead letters", "select count(*) as n from dead_letters", 0),
        ("unsent events", "select count(*) as n from outbox", 0),
        (
            "events handled twice",
            "select count(*) as n from (select from inbox group by pipeline, event_id having count(*) > 1) t",
            0,
        ),
        (
            "jobs that were done twice",
            "select count(*) as n from (select from job_history group by id having count(*) > 1) t",
            0,
        ),
        (
            "pieces sold",
            "select (-sum(on_hand_delta))::bigint as n from stock_ledger where on_hand_delta < 0",
            placed,
        ),
    ];
    for (what, query, n) in expected {
        let found = system.count(query).await?;
        ensure!(found == n, "{what}: {found}, not {n}\n{}", doubles(system).await?);
    }
    ensure!(system.stock(crate::load::SKU).await? == (STOCK - placed, 0), "stock");
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["captures"] == placed && gateway["double_captures"] == 0, "{gateway}");
    ensure!(system.mails_written()? >= orders.len(), "a mail was said to be sent and was not");
    Ok(())
}

/// What the history says of jobs that are in it twice.
async fn doubles(system: &System) -> anyhow::Result<String> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        job: String,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "select row_to_json(h)::text as job from job_history h
         where id in (select id from job_history group by id having count(*) > 1) order by id, finished_at limit 20",
    )
    .load(&mut system.connection().await?)
    .await?;
    Ok(rows.into_iter().map(|row| row.job).collect::<Vec<_>>().join("\n"))
}
