//! Processes that disagree about the time: the database's counts.

use anyhow::{Context as _, ensure};
use chrono::{TimeDelta, Utc};
use waybill_tests::{Plan, System, fake_clock::FakeClock, missing::skipped, until};

/// Ahead by more than any lease, retry or reservation, and behind by more than any process lives.
const APART: [(&str, i64); 3] = [("+50h", 50), ("-3h", -3), ("+1h", 1)];

/// The workers' ids: whoever was taken for dead has a new one.
async fn lives(system: &System) -> anyhow::Result<Vec<String>> {
    let list = system.admin.read("/v1/admin/system/workers").await?;
    let rows = list["data"].as_array().context("no workers")?;
    let mut ids: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap_or_default().to_owned()).collect();
    ids.sort_unstable();
    Ok(ids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_and_a_scheduler_whose_clocks_are_days_apart_do_their_work() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(0)).await?;
    let mut days = Vec::new();
    for (place, (by, hours)) in APART.into_iter().enumerate() {
        let Some(clock) = FakeClock::new(&system.folder(), &format!("clock-{place}"))? else {
            return skipped("clocks that are apart", "there is no libfaketime");
        };
        clock.jump(by)?;
        let settings = clock.settings();
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if place + 1 == APART.len() {
            system.restart_scheduler_with(&settings).await?;
        } else {
            system.add_worker(&settings).await?;
            days.push((Utc::now() + TimeDelta::hours(hours)).format("%Y-%m-%dT%H").to_string());
        }
    }
    let workers = until("both workers to be known", async || {
        let ids = lives(&system).await?;
        Ok(if ids.len() == 2 { Ok(ids) } else { Err(format!("{ids:?}")) })
    })
    .await?;
    system.sell("MUG-1", "7.65", 100).await?;
    let fires = "select count(*) as n from schedule_fires where schedule = 'expire-checkouts'";
    let fired = system.count(fires).await?;
    for _ in 0..3 {
        let orders = system.place_many(6).await?;
        system.confirmed(&orders).await?;
    }
    // The first time was set by a scheduler whose clock was right.
    until("the schedule of every 5 s to fire twice", async || {
        let now = system.count(fires).await?;
        Ok(if now >= fired + 2 { Ok(()) } else { Err(now.to_string()) })
    })
    .await?;
    system.at_rest().await?;

    // Nobody took the other for dead, and nothing was tried twice.
    ensure!(lives(&system).await? == workers, "{}", system.logs());
    let once = "select count(*) as n from job_history where kind = 'checkout.run' and state = 'done' and attempt = 1";
    ensure!(system.count(once).await? == 18, "{}", system.logs());
    ensure!(system.count("select count(*) as n from dead_letters").await? == 0);
    ensure!(system.stock("MUG-1").await? == (82, 0));
    let gateway = system.gateway_summary().await?;
    ensure!(gateway["captures"] == 18 && gateway["double_captures"] == 0, "{gateway}");
    for (worker, day) in system.workers.iter_mut().zip(&days) {
        ensure!(worker.stop().await.context("stopping")?, "{}", worker.log());
        ensure!(worker.whole_log().contains(day.as_str()), "its clock is as any other:\n{}", worker.log());
    }
    Ok(())
}
