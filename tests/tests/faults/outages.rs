//! What is outside fails, and who was about to say so dies.

use std::time::Instant;

use anyhow::ensure;
use serde_json::json;
use waybill_tests::{Plan, System, until};

use crate::{books::recovered, load::Load};

/// Between a worker's last failure, by which it knows that the gateway is down, and the statement that tells all others.
const POINT: &str = "outage.before_word";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn a_worker_dies_before_it_says_that_the_gateway_is_down() -> anyhow::Result<()> {
    let struck = tempfile::tempdir()?;
    let arm = format!("{POINT}=kill:1");
    let folder = struck.path().display().to_string();
    let plan = Plan::with(&[("WAYBILL_FAIL_POINTS", &arm), ("WAYBILL_FAIL_POINTS_DIR", &folder)]);
    let mut system = System::start(plan.workers(2)).await?;
    let mut load = Load::start(&system, 6).await?;
    load.confirmed(5).await?;
    system.fault(json!({ "fault": "error_500", "times": 1_000_000 })).await?;
    let hurt = Instant::now();
    until("a worker to die with what it knows", async || {
        let mut lives = 0;
        for worker in &mut system.workers {
            lives += u8::from(!worker.has_ended()?);
        }
        Ok(if lives == 1 { Ok(()) } else { Err(format!("{lives} live")) })
    })
    .await?;
    ensure!(
        struck.path().join(format!("{POINT}.1")).exists(),
        "it died of something else:\n{}",
        system.logs()
    );

    // Nobody was told. The other finds out by itself, and holds what the one that died had in hand.
    let down =
        "select count(*) as n from dependencies where name = 'gateway.sandbox' and down_since is not null";
    system.until_count("the other worker to say that the gateway is down", down, 1).await?;
    println!(
        "an outage was noticed {:.2} s after it began, its first witness dead",
        hurt.elapsed().as_secs_f64()
    );
    let loose = "select count(*) as n from jobs j where kind = 'checkout.run' and hold is distinct from 'needs:gateway.sandbox'
                 and not exists (select from dependencies where probe_id = j.id)";
    system.until_count("all checkouts to be held", loose, 0).await?;
    system.add_worker(&[]).await?;
    system.no_more_faults().await?;
    let healed = Instant::now();
    load.confirmed(5).await?;
    system.until_count("the gateway to be up", down, 0).await?;
    recovered(&system, load, "gateway down and its first witness killed", healed).await
}
