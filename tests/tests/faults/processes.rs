//! Processes that die or hang.

use std::time::Instant;

use anyhow::ensure;
use nix::sys::signal::Signal;
use waybill_tests::{Plan, System, until};

use crate::{
    books::recovered,
    load::{Load, PATIENCE},
};

/// Somewhere below `n`.
pub fn below(n: usize) -> usize {
    usize::try_from(uuid::Uuid::new_v4().as_u128() % n as u128).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn workers_are_killed_again_and_again() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(3)).await?;
    let mut load = Load::start(&system, 6).await?;
    for _ in 0..8 {
        load.confirmed(5 + below(10)).await?;
        let victim = below(system.workers.len());
        system.workers.remove(victim).kill().await?;
        system.add_worker(&[]).await?;
    }
    recovered(&system, load, "workers killed", Instant::now()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn all_workers_are_killed_at_once() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(2)).await?;
    let mut load = Load::start(&system, 6).await?;
    load.confirmed(10).await?;
    for mut worker in std::mem::take(&mut system.workers) {
        worker.kill().await?;
    }
    let killed = Instant::now();
    system.add_worker(&[]).await?;
    load.confirmed(5).await?;
    recovered(&system, load, "all workers killed", killed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn the_api_and_the_scheduler_are_killed() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(2)).await?;
    let mut load = Load::start(&system, 6).await?;
    let fired = "select count(*) as n from schedule_fires";
    for _ in 0..3 {
        load.confirmed(5 + below(10)).await?;
        system.api.kill().await?;
        system.restart_api().await?;
        load.confirmed(5).await?;
        let before = system.count(fired).await?;
        system.scheduler.kill().await?;
        system.restart_scheduler().await?;
        until("a schedule to fire after the scheduler was killed", async || {
            let now = system.count(fired).await?;
            Ok(if now > before { Ok(()) } else { Err(now.to_string()) })
        })
        .await?;
    }
    recovered(&system, load, "api and scheduler killed", Instant::now()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn a_worker_hangs_for_longer_than_its_lease_and_wakes_up() -> anyhow::Result<()> {
    let plan = Plan::with(&[
        ("WAYBILL_WORKER__LEASE", "3s"),
        ("WAYBILL_WORKER__HEARTBEAT", "500ms"),
        ("WAYBILL_WORKER__GRACE", "500ms"),
    ]);
    let system = System::start(plan.workers(2)).await?;
    let mut load = Load::start(&system, 6).await?;
    for round in 0..2 {
        load.confirmed(10).await?;
        let sleeper = &system.workers[round];
        sleeper.signal(Signal::SIGSTOP)?;
        let hung = Instant::now();
        let pid = sleeper.pid()?.to_string();
        let gone =
            format!("select count(*) as n from workers where pid = {pid} and service = 'waybill-worker'");
        // Its row goes when the others take what it holds.
        system.until_count("the hung worker to be given up", &gone, 0).await?;
        load.confirmed(10).await?;
        println!("a worker that hung was replaced after {:.2} s", hung.elapsed().as_secs_f64());
        sleeper.signal(Signal::SIGCONT)?;
        system.until_count("the zombie to start over", &gone, 1).await?;
        ensure!(hung.elapsed() < PATIENCE, "it took {:?}", hung.elapsed());
    }
    recovered(&system, load, "workers hung longer than their lease", Instant::now()).await
}
