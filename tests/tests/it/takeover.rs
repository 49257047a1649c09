//! Workers that die, hang or are asked to go with orders in hand.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use waybill_tests::{Plan, System, process::Process, until};

/// Longer than any test may take.
const FOR_EVER: &str = "pause(600000):1000";

/// Waits until a worker stands still at a fail point.
async fn standing_at(worker: &Process, point: &str) -> anyhow::Result<()> {
    until(&format!("the worker to stand at {point}"), async || {
        let log = worker.log();
        Ok(if log.contains("fail point") && log.contains(point) { Ok(()) } else { Err(log) })
    })
    .await
}

/// Attempts of all checkouts that are done.
const ATTEMPTS: &str =
    "select coalesce(sum(attempt), 0)::bigint as n from job_history where kind = 'checkout.run'";
const CHECKOUTS: &str =
    "select count(*) as n from job_history where kind = 'checkout.run' and state = 'done'";
const RUNNING: &str = "select count(*) as n from jobs where kind = 'checkout.run' and state = 'running'";
const MAILS: &str = "select count(*) as n from mails where template = 'order_confirmed' and status = 'sent'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_jobs_are_run_by_another() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let stuck = format!("checkout.after_reserve={FOR_EVER}");
    system.add_worker(&[("WAYBILL_FAIL_POINTS", &stuck)]).await?;
    let orders = system.place_many(10).await?;
    let reserved = "select count(*) as n from orders where step = 'reserved'";
    system.until_count("the orders to be reserved", reserved, 10).await?;
    system.add_worker(&[]).await?;
    ensure!(system.count(RUNNING).await? == 10);

    let mut victim = system.workers.remove(0);
    let killed = Instant::now();
    victim.kill().await?;
    system.confirmed(&orders).await?;
    println!("10 orders of a killed worker were confirmed by another after {:?}", killed.elapsed());

    system.at_rest().await?;
    ensure!(system.count(CHECKOUTS).await? == 10);
    ensure!(system.count(ATTEMPTS).await? == 20, "each order took the attempt that was lost, and one more");
    ensure!(system.count(MAILS).await? == 10);
    ensure!(system.stock("MUG-1").await? == (90, 0));
    ensure!(system.gateway_summary().await?["captures"] == 10);
    Ok(())
}

/// A worker that hangs at `point` for longer than its lease, while another carries its order to the end, and then wakes up.
async fn zombie(point: &str) -> anyhow::Result<()> {
    let short = Plan::with(&[
        ("WAYBILL_WORKER__LEASE", "3s"),
        ("WAYBILL_WORKER__HEARTBEAT", "500ms"),
        ("WAYBILL_WORKER__GRACE", "500ms"),
    ]);
    let mut system = System::start(short.workers(0)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let arm = format!("{point}=pause(2000)");
    system.add_worker(&[("WAYBILL_FAIL_POINTS", &arm)]).await?;
    let orders = system.place_many(1).await?;
    standing_at(&system.workers[0], point).await?;
    system.workers[0].signal(Signal::SIGSTOP)?;
    let stopped = Instant::now();
    system.add_worker(&[]).await?;
    system.confirmed(&orders).await?;
    println!("the order of a worker hung at {point} was confirmed by another after {:?}", stopped.elapsed());
    // What it held of the events is taken from it too.
    system.until_count("the mail of a hung worker's order", MAILS, 1).await?;

    // It wakes up where it was, goes on, and must be told that the job is not its own any more.
    system.workers[0].signal(Signal::SIGCONT)?;
    until("the zombie to start over", async || {
        let log = system.workers[0].log();
        Ok(if log.matches("worker started").count() >= 2 { Ok(()) } else { Err(log) })
    })
    .await?;
    system.at_rest().await?;
    ensure!(system.count(CHECKOUTS).await? == 1);
    ensure!(system.count(MAILS).await? == 1);
    ensure!(system.stock("MUG-1").await? == (99, 0));
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["captures"] == 1 && gateway["authorizations"] == 1, "{gateway}");

    // And it is of use again.
    let mut other = system.workers.pop().context("no other")?;
    ensure!(other.stop().await?, "{}", other.log());
    let more = system.place_many(1).await?;
    system.confirmed(&more).await?;
    system.at_rest().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hung_before_the_capture_is_refused() -> anyhow::Result<()> {
    zombie("before_capture_call").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hung_with_rows_locked_blocks_nobody() -> anyhow::Result<()> {
    zombie("checkout.reserving").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hung_before_the_end_is_refused() -> anyhow::Result<()> {
    zombie("checkout.before_complete").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_asked_to_stop_hands_back_without_spending_attempts() -> anyhow::Result<()> {
    let mut system =
        System::start(Plan::with(&[("WAYBILL_WORKER__SHUTDOWN_DEADLINE", "100ms")]).workers(0)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let stuck = format!("checkout.after_reserve={FOR_EVER}");
    system.add_worker(&[("WAYBILL_FAIL_POINTS", &stuck)]).await?;
    let orders = system.place_many(5).await?;
    let reserved = "select count(*) as n from orders where step = 'reserved'";
    system.until_count("the orders to be reserved", reserved, 5).await?;

    let mut leaving = system.workers.remove(0);
    ensure!(leaving.stop().await?, "{}", leaving.log());
    // Handed back, not left to be found: nothing is running, and nobody's lease has to run out.
    ensure!(system.count(RUNNING).await? == 0);
    ensure!(system.count("select count(*) as n from workers where service = 'waybill-worker'").await? == 0);
    system.add_worker(&[]).await?;
    system.confirmed(&orders).await?;
    system.at_rest().await?;
    ensure!(system.count(CHECKOUTS).await? == 5);
    ensure!(system.count(ATTEMPTS).await? == 5, "an interruption is no attempt");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_asked_to_stop_finishes_what_it_can() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    system.add_worker(&[("WAYBILL_FAIL_POINTS", "checkout.after_reserve=pause(1000):1000")]).await?;
    let orders = system.place_many(5).await?;
    let reserved = "select count(*) as n from orders where step = 'reserved'";
    system.until_count("the orders to be reserved", reserved, 5).await?;
    let mut leaving = system.workers.remove(0);
    ensure!(leaving.stop().await?, "{}", leaving.log());
    let confirmed = "select count(*) as n from orders where status = 'confirmed'";
    ensure!(system.count(confirmed).await? == 5, "{}", leaving.log());
    system.add_worker(&[]).await?;
    system.confirmed(&orders).await?;
    system.at_rest().await?;
    ensure!(system.count(ATTEMPTS).await? == 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_asked_to_stop_ends_and_keeps_the_job_of_a_handler_that_never_yields() -> anyhow::Result<()>
{
    let mut system =
        System::start(Plan::with(&[("WAYBILL_WORKER__SHUTDOWN_DEADLINE", "100ms")]).workers(0)).await?;
    system.sell("MUG-1", "7.65", 100).await?;
    system.add_worker(&[("WAYBILL_FAIL_POINTS", "checkout.after_reserve=block(600000)")]).await?;
    let orders = system.place_many(1).await?;
    let reserved = "select count(*) as n from orders where step = 'reserved'";
    system.until_count("the order to be reserved", reserved, 1).await?;

    let mut leaving = system.workers.remove(0);
    ensure!(leaving.stop().await?, "{}", leaving.log());
    // Handed back it would have run twice while the process still had it in hand.
    ensure!(system.count(RUNNING).await? == 1, "{}", leaving.log());
    system.add_worker(&[]).await?;
    system.confirmed(&orders).await?;
    system.at_rest().await?;
    let lost = r#"select count(*) as n from job_history
                  where kind = 'checkout.run' and failures @> '[{"outcome": "worker_lost"}]'"#;
    ensure!(system.count(lost).await? == 1 && system.count(ATTEMPTS).await? == 2);
    ensure!(system.gateway_summary().await?["captures"] == 1);
    Ok(())
}
