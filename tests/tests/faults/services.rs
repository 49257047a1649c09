//! Postgres and the broker going away, coming back, and refusing.

use std::time::Instant;

use anyhow::ensure;
use diesel_async::RunQueryDsl as _;
use waybill_jobs::testing::Proxy;
use waybill_tests::{Plan, System, broker::through, scratch::Node, until};

use crate::{books::recovered, load::Load};

async fn on_its_own_database(node: &Node) -> anyhow::Result<System> {
    System::start(Plan { database: Some(node.url.clone()), ..Plan::default().workers(2) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn postgres_is_restarted_and_crashes() -> anyhow::Result<()> {
    let node = Node::start("postgres").await?;
    let mut system = on_its_own_database(&node).await?;
    let mut load = Load::start(&system, 6).await?;
    let mut healed = Instant::now();
    for end in ["stop", "kill", "kill"] {
        load.confirmed(10).await?;
        node.control(end).await?;
        node.control("start").await?;
        healed = Instant::now();
        load.confirmed(5).await?;
        println!(
            "orders are confirmed {:.2} s after Postgres' {end} and start",
            healed.elapsed().as_secs_f64()
        );
    }
    recovered(&system, load, "postgres restarted and crashed", healed).await?;
    for process in system.workers.iter_mut().chain([&mut system.scheduler, &mut system.api]) {
        ensure!(!process.has_ended()?, "{} did not survive:\n{}", process.name, process.log());
    }
    Ok(())
}

/// Ends every connection to the system's database but the caller's.
pub async fn cut_connections(system: &System) -> anyhow::Result<usize> {
    let mut conn = system.connection().await?;
    let cut = diesel::sql_query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    );
    Ok(cut.execute(&mut conn).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn every_connection_to_postgres_is_cut() -> anyhow::Result<()> {
    let mut system = System::start(Plan::default().workers(2)).await?;
    let mut load = Load::start(&system, 6).await?;
    for _ in 0..5 {
        load.confirmed(8).await?;
        let cut = cut_connections(&system).await?;
        ensure!(cut > 5, "{cut} connections");
    }
    recovered(&system, load, "connections to postgres cut", Instant::now()).await?;
    for process in system.workers.iter_mut().chain([&mut system.scheduler, &mut system.api]) {
        ensure!(!process.has_ended()?, "{} did not survive:\n{}", process.name, process.log());
    }
    Ok(())
}

async fn on_its_own_broker(node: &Node) -> anyhow::Result<System> {
    let plan = Plan::with(&[("WAYBILL_BROKER__DOWN_AFTER", "500ms")]).workers(2);
    System::start(Plan { broker: Some(node.url.clone()), ..plan }).await
}

/// Events of orders that have taken a lane.
fn on(lane: &str) -> String {
    format!("select count(*) as n from event_log where topic like 'order.%' and lane = '{lane}'")
}

/// Workers whose relay is not on the broker.
const ELSEWHERE: &str = "select count(*) as n from workers where event_lane is distinct from 'amqp'";

/// Waits until events of orders have taken a lane since `before` of them had.
async fn taken(system: &System, lane: &str, before: i64) -> anyhow::Result<i64> {
    until(&format!("events on the lane of {lane}"), async || {
        let n = system.count(&on(lane)).await?;
        Ok(if n > before { Ok(n) } else { Err(format!("{n}, not more than {before}")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn the_broker_crashes_stays_away_and_refuses() -> anyhow::Result<()> {
    let node = Node::start("rabbitmq").await?;
    let system = on_its_own_broker(&node).await?;
    let mut load = Load::start(&system, 6).await?;
    let mut by_postgres = 0;
    let mut healed = Instant::now();
    for (fault, cure) in [("kill", "start"), ("stop", "start"), ("block", "unblock")] {
        taken(&system, "amqp", 0).await?;
        load.confirmed(5).await?;
        node.control(fault).await?;
        let hurt = Instant::now();
        by_postgres = taken(&system, "postgres", by_postgres).await?;
        println!("events ride on Postgres {:.2} s after the broker's {fault}", hurt.elapsed().as_secs_f64());
        load.confirmed(10).await?;
        node.control(cure).await?;
        healed = Instant::now();
        let so_far = system.count(&on("amqp")).await?;
        taken(&system, "amqp", so_far).await?;
        println!("events ride on the broker {:.2} s after its {cure}", healed.elapsed().as_secs_f64());
    }
    recovered(&system, load, "broker crashed, away and blocked", healed).await?;
    each_once_and_in_order(&system).await
}

/// Every event was handled by each of its pipelines (twice the inbox does not allow), those of an aggregate one after the other.
async fn each_once_and_in_order(system: &System) -> anyhow::Result<()> {
    let unhandled = "select count(*) as n from event_log e, unnest(e.pipelines) p
                     where not exists (select from inbox i where i.pipeline = p and i.event_id = e.id)";
    ensure!(system.count(unhandled).await? == 0, "an event was not handled by each of its pipelines");
    let handled = "select e.aggregate, e.aggregate_id, i.pipeline, e.seq, i.handled_at
                   from event_log e join inbox i on i.event_id = e.id and i.event_at = e.created_at";
    let overtaken = format!(
        "with handled as materialized ({handled}), ordered as (
             select handled_at, max(handled_at) over (partition by aggregate, aggregate_id, pipeline order by seq
                                                      rows between unbounded preceding and 1 preceding) as before
             from handled)
         select count(*) as n from ordered where handled_at < before"
    );
    ensure!(
        system.count(&overtaken).await? == 0,
        "an event was handled before an earlier one of its aggregate"
    );
    let pairs = format!(
        "select count(*) as n from (select from ({handled}) h group by aggregate, aggregate_id, pipeline having count(*) > 1) p"
    );
    ensure!(system.count(&pairs).await? > 0, "no aggregate had two events");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask test faults"]
async fn every_packet_between_the_workers_and_the_broker_is_lost() -> anyhow::Result<()> {
    let node = Node::start("rabbitmq").await?;
    let proxy = Proxy::start(through(&node.url, "").0, true);
    let (_, proxied) = through(&node.url, &proxy.address.to_string());
    let settings = [("WAYBILL_BROKER__DOWN_AFTER", "500ms"), ("WAYBILL_BROKER__URL", proxied.as_str())];
    let plan = Plan { broker: Some(node.url.clone()), ..Plan::with(&settings).workers(2) };
    let system = System::start(plan).await?;
    let mut load = Load::start(&system, 6).await?;
    let mut healed = Instant::now();
    // First for a moment, with the connections still there afterwards; then until each side has given them up.
    for given_up in [false, true] {
        system.until_count("each relay to ride on the broker", ELSEWHERE, 0).await?;
        load.confirmed(5).await?;
        let so_far = system.count(&on("postgres")).await?;
        proxy.stall();
        let hurt = Instant::now();
        taken(&system, "postgres", so_far).await?;
        println!(
            "events ride on Postgres {:.2} s after packets to the broker were lost",
            hurt.elapsed().as_secs_f64()
        );
        load.confirmed(10).await?;
        if given_up {
            until("the consumers to give their connections up", async || {
                let gone = system.workers.iter().all(|worker| {
                    worker
                        .whole_log()
                        .lines()
                        .any(|line| line.contains("lost the broker") && line.contains("consumers"))
                });
                Ok(if gone { Ok(()) } else { Err(system.logs()) })
            })
            .await?;
            load.confirmed(5).await?;
        }
        let so_far = system.count(&on("amqp")).await?;
        proxy.restore();
        healed = Instant::now();
        taken(&system, "amqp", so_far).await?;
        println!(
            "events ride on the broker {:.2} s after packets arrive again",
            healed.elapsed().as_secs_f64()
        );
    }
    recovered(&system, load, "packets to the broker lost", healed).await?;
    each_once_and_in_order(&system).await
}
