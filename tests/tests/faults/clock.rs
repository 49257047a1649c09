//! Clocks that jump under running workers and the scheduler.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use chrono::{TimeDelta, Utc};
use waybill_tests::{Plan, System, fake_clock::FakeClock, missing::skipped, until};

use crate::{books::recovered, load::Load};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn the_clocks_of_workers_jump() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(1)).await?;
    let Some(clock) = FakeClock::new(&system.folder(), "clock")? else {
        return skipped("clocks that jump", "there is no libfaketime");
    };
    let faked = clock.settings();
    let faked: Vec<_> = faked.iter().map(|(name, value)| (*name, value.as_str())).collect();
    system.add_worker(&faked).await?;
    system.add_worker(&faked).await?;
    system.restart_scheduler_with(&faked).await?;
    let mut load = Load::start(&system, 6).await?;
    load.confirmed(10).await?;
    for to in ["+50h", "-3h", "+0"] {
        clock.jump(to)?;
        load.confirmed(15).await?;
        fires_on(&system).await.with_context(|| format!("the scheduler's clock at {to}"))?;
    }
    clock.jump("+50h")?;
    let jumped = Instant::now();
    load.confirmed(15).await?;
    let day = (Utc::now() + TimeDelta::hours(50)).format("%Y-%m-%d").to_string();
    let mut one = system.workers.pop().context("no worker")?;
    ensure!(one.stop().await?, "{}", one.log());
    ensure!(one.log().contains(&day), "its clock did not jump:\n{}", one.log());
    recovered(&system, load, "clocks of workers jumped by 50 h and by -3 h", jumped).await
}

/// Schedules are neither silent nor spinning, whatever the clock of who fires them.
async fn fires_on(system: &System) -> anyhow::Result<()> {
    const FIRES: &str = "select count(*) as n from schedule_fires where schedule = 'expire-checkouts'";
    let (before, begun) = (system.count(FIRES).await?, Instant::now());
    until("the schedule of every 5 s fires twice", async || {
        let fired = system.count(FIRES).await? - before;
        Ok(if fired >= 2 { Ok(()) } else { Err(format!("{fired} times")) })
    })
    .await?;
    let fired = system.count(FIRES).await? - before;
    let most = i64::try_from(begun.elapsed().as_secs() / 5)? + 2;
    ensure!(fired <= most, "it fired {fired} times in {:?}", begun.elapsed());
    Ok(())
}
