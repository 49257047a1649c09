//! Random load and random faults for as long as `cargo xtask soak --minutes N` says.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Text},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use waybill_jobs::testing::Proxy;
use waybill_tests::{
    Plan, System, broker::through, fake_clock::FakeClock, missing::skipped, process::Process, scratch::Node,
};

use crate::{
    books,
    disk::SmallDisk,
    load::{Load, place, wait_for},
    processes::below,
    services::cut_connections,
};

/// Megabytes by which the worker that is never killed may grow after its first minute.
const GROWTH: f64 = 64.0;

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillWorker,
    KillWorkers,
    KillScheduler,
    KillApi,
    HangWorker,
    CutConnections,
    RestartPostgres,
    CrashPostgres,
    CrashBroker,
    BrokerAway,
    BlockBroker,
    DiskFull,
    ClocksJump,
    LosePackets,
}

impl Fault {
    const ALL: [Self; 14] = [
        Self::KillWorker,
        Self::KillWorkers,
        Self::KillScheduler,
        Self::KillApi,
        Self::HangWorker,
        Self::CutConnections,
        Self::RestartPostgres,
        Self::CrashPostgres,
        Self::CrashBroker,
        Self::BrokerAway,
        Self::BlockBroker,
        Self::DiskFull,
        Self::ClocksJump,
        Self::LosePackets,
    ];
}

struct Soak {
    // Before the system, whose folder it is in: unmounted before that is removed.
    disk: Option<SmallDisk>,
    clock: Option<FakeClock>,
    system: System,
    postgres: Node,
    broker: Node,
    /// Between the broker and all of ours.
    network: Proxy,
    load: Load,
}

impl Soak {
    async fn start() -> anyhow::Result<Self> {
        let (postgres, broker) = (Node::start("postgres").await?, Node::start("rabbitmq").await?);
        let network = Proxy::start(through(&broker.url, "").0, true);
        let (_, proxied) = through(&broker.url, &network.address.to_string());
        let plan = Plan::with(&[
            ("WAYBILL_BROKER__URL", &proxied),
            ("WAYBILL_WORKER__LEASE", "3s"),
            ("WAYBILL_WORKER__HEARTBEAT", "500ms"),
            ("WAYBILL_WORKER__GRACE", "500ms"),
            ("WAYBILL_BROKER__DOWN_AFTER", "500ms"),
            ("WAYBILL_AUTH__ACCESS_TTL", "1d"),
        ]);
        let plan = Plan {
            broker: Some(broker.url.clone()),
            database: Some(postgres.url.clone()),
            ..plan.workers(1)
        };
        let mut system = System::start(plan).await?;
        let folder = system.folder();
        let disk = SmallDisk::mount(&folder.join("mail"))?;
        match &disk {
            Some(disk) => disk.open()?,
            None => skipped("a full disk", "mounting one needs the rights to")?,
        }
        let clock = FakeClock::new(&folder, "clock")?;
        if clock.is_none() {
            skipped("clocks that jump", "there is no libfaketime")?;
        }
        for _ in 0..2 {
            add_worker(&mut system, clock.as_ref()).await?;
        }
        let load = Load::start(&system, 6).await?;
        Ok(Self { disk, clock, system, postgres, broker, network, load })
    }

    /// What this machine can do.
    fn faults(&self) -> Vec<Fault> {
        let can = |fault: &Fault| match fault {
            Fault::DiskFull => self.disk.is_some(),
            Fault::ClocksJump => self.clock.is_some(),
            _ => true,
        };
        Fault::ALL.into_iter().filter(can).collect()
    }

    /// A fault, and what heals it. The first worker is spared: its memory is watched.
    async fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        let Self { disk, clock, system, postgres, broker, network, load } = self;
        let clock = clock.as_ref();
        let victim = 1 + below(system.workers.len() - 1);
        match fault {
            Fault::KillWorker => {
                system.workers.remove(victim).kill().await?;
                add_worker(system, clock).await?;
            }
            Fault::KillWorkers => {
                while system.workers.len() > 1 {
                    system.workers.remove(1).kill().await?;
                }
                add_worker(system, clock).await?;
                add_worker(system, clock).await?;
            }
            Fault::KillScheduler => {
                system.scheduler.kill().await?;
                system.restart_scheduler().await?;
            }
            Fault::KillApi => {
                system.api.kill().await?;
                system.restart_api().await?;
            }
            Fault::HangWorker => {
                let sleeper = &system.workers[victim];
                sleeper.signal(Signal::SIGSTOP)?;
                let gone = format!("select count(*) as n from workers where pid = {}", sleeper.pid()?);
                let given_up = system.until_count("the hung worker to be given up", &gone, 0).await;
                sleeper.signal(Signal::SIGCONT)?;
                given_up?;
            }
            Fault::CutConnections => {
                cut_connections(system).await?;
            }
            Fault::RestartPostgres | Fault::CrashPostgres => {
                let end = if matches!(fault, Fault::CrashPostgres) { "kill" } else { "stop" };
                postgres.control(end).await?;
                postgres.control("start").await?;
            }
            Fault::CrashBroker => {
                broker.control("kill").await?;
                broker.control("start").await?;
            }
            Fault::BrokerAway => {
                broker.control("stop").await?;
                let on = load.confirmed(10).await;
                broker.control("start").await?;
                on?;
            }
            Fault::BlockBroker => {
                broker.control("block").await?;
                let on = load.confirmed(10).await;
                broker.control("unblock").await?;
                on?;
            }
            Fault::DiskFull => {
                let disk = disk.as_ref().context("no disk")?;
                disk.shut()?;
                // Orders do not wait for their mails.
                let on = load.confirmed(10).await;
                disk.open()?;
                on?;
            }
            Fault::ClocksJump => {
                let clock = clock.context("no clock")?;
                for to in ["+50h", "-3h", "+0"] {
                    clock.jump(to)?;
                    load.confirmed(5).await?;
                }
            }
            Fault::LosePackets => {
                network.stall();
                let on = load.confirmed(10).await;
                network.restore();
                on?;
            }
        }
        Ok(())
    }

    /// What must hold at any moment, with everything in motion.
    async fn invariants(&self) -> anyhow::Result<()> {
        let checks = self.system.admin.read("/v1/admin/system/checks").await?;
        for check in checks["checks"].as_array().context("no checks")? {
            ensure!(check["always"] != true || check["ok"] == true, "{check}");
        }
        let gateway = self.system.gateway_summary().await?;
        ensure!(gateway["double_captures"] == 0, "{gateway}");
        let dead = self.system.count("select count(*) as n from dead_letters").await?;
        ensure!(dead == 0, "{dead} dead letters");
        Ok(())
    }
}

/// One more worker, by a clock that can jump if there is one.
async fn add_worker(system: &mut System, clock: Option<&FakeClock>) -> anyhow::Result<()> {
    let settings = clock.map(FakeClock::settings).unwrap_or_default();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    system.add_worker(&settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "cargo xtask soak"]
async fn soak() -> anyhow::Result<()> {
    let minutes: u64 = env::var("WAYBILL_SOAK_MINUTES").map_or(Ok(5), |text| text.parse())?;
    let mut soak = Soak::start().await?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs(60 * minutes);
    let mut next_minute = begun + Duration::from_secs(60);
    let mut recoveries: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut memory = Vec::new();
    let mut number = 0_usize;
    // Each fault in its turn before any comes again, each time in another order.
    let mut faults: Vec<Fault> = Vec::new();
    while Instant::now() < end {
        if faults.is_empty() {
            faults = soak.faults();
        }
        let fault = faults.swap_remove(below(faults.len()));
        soak.load.confirmed(5 + below(15)).await.with_context(|| soak.system.logs())?;
        soak.strike(fault).await.with_context(|| format!("{fault:?}\n{}", soak.system.logs()))?;
        let healed = Instant::now();
        number += 1;
        let fresh = place(&soak.system.anybody, &format!("after-{number}")).await?;
        let id = fresh["id"].as_str().context("no id")?.to_owned();
        wait_for(&soak.system.admin, &id)
            .await
            .with_context(|| format!("{fault:?}\n{}", soak.system.logs()))?;
        let took = healed.elapsed().as_secs_f64();
        println!("recovery: {fault:?}: a new order confirmed after {took:.2} s");
        recoveries.entry(format!("{fault:?}")).or_default().push(took);
        if Instant::now() >= next_minute {
            next_minute += Duration::from_secs(60);
            soak.invariants().await.with_context(|| format!("after {fault:?}"))?;
            memory.push(resident(&soak.system.workers[0])?);
            println!("minute {}: every invariant holds", begun.elapsed().as_secs() / 60);
        }
    }
    // The disk stays mounted until the mails on it are counted.
    let Soak { system, load, disk: _disk, .. } = soak;
    let mut orders = load.finish().await.with_context(|| system.logs())?;
    for number in 1..=number {
        // The same key: the order that was placed after that fault.
        let order = place(&system.anybody, &format!("after-{number}")).await?;
        orders.push(order["id"].as_str().context("no id")?.to_owned());
    }
    let stopped = Instant::now();
    books::at_rest(&system).await?;
    let rested = stopped.elapsed().as_secs_f64();
    memory.push(resident(&system.workers[0])?);
    let tables = tables(&system).await?;
    println!(
        "{}",
        json!({
            "soak_minutes": begun.elapsed().as_secs_f64() / 60.0,
            "orders": orders.len(),
            "faults": number,
            "recovery_s": recoveries,
            "at_rest_after_s": rested,
            "worker_rss_mb_by_minute": memory,
            "api_rss_mb": resident(&system.api)?,
            "scheduler_rss_mb": resident(&system.scheduler)?,
            "tables": tables,
        })
    );
    books::audit(&system, &orders).await?;
    let (first, last) = (memory.first().copied().unwrap_or(0.0), memory.last().copied().unwrap_or(0.0));
    ensure!(last - first < GROWTH, "the worker grew from {first} to {last} MB");
    Ok(())
}

/// Resident memory in megabytes.
fn resident(process: &Process) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()?))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok((kilobytes / 102.4).round() / 10.0)
}

/// Live and dead rows and the size of the tables that everything goes through.
async fn tables(system: &System) -> anyhow::Result<Value> {
    // Not above: it has a `first` for everything.
    use diesel_async::RunQueryDsl as _;

    #[derive(QueryableByName)]
    struct Table {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = BigInt)]
        live: i64,
        #[diesel(sql_type = BigInt)]
        dead: i64,
        #[diesel(sql_type = BigInt)]
        kilobytes: i64,
    }
    let tables: Vec<Table> = diesel::sql_query(
        "select relname::text as name, n_live_tup as live, n_dead_tup as dead,
                pg_total_relation_size(relid) / 1024 as kilobytes
         from pg_stat_user_tables
         where relname in ('jobs', 'outbox', 'workers', 'inbox', 'orders', 'stock_levels', 'event_shards')
         order by 1",
    )
    .load(&mut system.connection().await?)
    .await?;
    Ok(tables
        .into_iter()
        .map(|table| {
            (table.name, json!({ "live": table.live, "dead": table.dead, "kilobytes": table.kilobytes }))
        })
        .collect::<serde_json::Map<_, _>>()
        .into())
}
