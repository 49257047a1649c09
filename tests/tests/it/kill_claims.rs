//! A worker killed between the commit of a claim and the removal of the claim's row.

use anyhow::ensure;
use serde_json::Value;
use waybill_tests::{Plan, System};

use crate::kill::dies_at;

/// Only checkouts, so that the first claim is of them.
const CHECKOUTS: [(&str, &str); 2] =
    [("WAYBILL_WORKER__QUEUES", "checkout=8"), ("WAYBILL_WORKER__PIPELINES", "[]")];
const RUNNING: &str = "select count(*) as n from running_jobs where queue = 'checkout'";
const ROWS: &str = "select count(*) as n from job_claims where queue = 'checkout'";
const DONE: &str = "select count(*) as n from job_history where kind = 'checkout.run' and state = 'done'";
/// Rows of claims that name a worker which is none.
const ORPHANS: &str = "select count(*) as n from job_claims c where not exists (select from workers w where w.id = c.worker_id)";

/// A system that nobody works for, with five orders.
async fn five_orders() -> anyhow::Result<(System, Vec<Value>)> {
    let system = System::start(Plan::default().workers(0)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let orders = system.place_many(5).await?;
    Ok((system, orders))
}

/// A worker comes: every order is confirmed once, after `attempts` each for the first five, and no row of a claim is left.
async fn comes_right(system: &mut System, mut orders: Vec<Value>, attempts: i64) -> anyhow::Result<()> {
    system.add_worker(&[]).await?;
    orders.extend(system.place_many(3).await?);
    system.confirmed(&orders).await?;
    system.until_count("the dead worker's claims to be forgotten", ORPHANS, 0).await?;
    system.at_rest().await?;
    system.until_count("no claim to be left of checkouts", ROWS, 0).await?;
    ensure!(system.count(DONE).await? == 8, "{}", system.logs());
    let spent = "select coalesce(sum(attempt), 0)::bigint as n from job_history where kind = 'checkout.run'";
    ensure!(system.count(spent).await? == 5 * attempts + 3, "{}", system.logs());
    ensure!(system.stock("MUG-1").await? == (92, 0));
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["captures"] == 8 && gateway["authorizations"] == 8, "{gateway}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_were_claimed_and_never_begun_are_run_by_another() -> anyhow::Result<()> {
    let (mut system, orders) = five_orders().await?;
    dies_at(&mut system, "claim.taken.checkout", &CHECKOUTS).await?;
    ensure!(system.count(RUNNING).await? == 5 && system.count(ROWS).await? == 1, "one claim had them all");
    ensure!(
        system.count("select count(*) as n from orders where step <> 'accepted'").await? == 0,
        "one has begun"
    );
    comes_right(&mut system, orders, 2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_row_of_a_claim_whose_jobs_have_ended_is_nobodys_and_goes() -> anyhow::Result<()> {
    let (mut system, orders) = five_orders().await?;
    dies_at(&mut system, "claim.rows_over", &CHECKOUTS).await?;
    ensure!(
        system.count(DONE).await? == 5 && system.count(RUNNING).await? == 0,
        "all of the claim have ended"
    );
    ensure!(system.count(ROWS).await? == 1, "its row is there");
    comes_right(&mut system, orders, 1).await
}
