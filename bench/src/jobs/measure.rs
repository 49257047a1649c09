//! The measurements, one function each, the same for every contestant.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{
    Part, Sizes,
    contestant::{Contestant, Working},
    database::Database,
};
use crate::processes;

/// Jobs that a worker may run at a time when it need not be fast.
const CONCURRENCY: usize = 100;
/// Worker processes of a drain.
const PROCESSES: usize = 2;
/// Jobs that a worker holds when it is killed.
const HELD: usize = 50;
/// How long a rescue may take before it counts as none.
const RESCUE_LIMIT: Duration = Duration::from_secs(30);
/// Jobs in one statement.
const BATCH: &str = "1000";

/// Figures by their keys; what a platform does not have is missing.
pub type Figures = HashMap<&'static str, f64>;

/// Everything, each in a database of its own.
pub async fn all(server: &str, contestant: &Contestant, sizes: &Sizes) -> anyhow::Result<Figures> {
    let mut figures = Figures::new();
    if sizes.wants(Part::Enqueue) {
        enqueue(server, contestant, sizes, &mut figures).await.context("enqueue")?;
    }
    if sizes.wants(Part::Drain) {
        drain(server, contestant, sizes, "noop", &mut figures).await.context("drain")?;
    }
    if contestant.completes_in_transaction && sizes.wants(Part::Tx) {
        drain(server, contestant, sizes, "tx", &mut figures).await.context("drain with transactions")?;
    }
    if sizes.wants(Part::Pickup) {
        pickup(server, contestant, sizes, &mut figures).await.context("pickup")?;
    }
    if sizes.wants(Part::Rescue)
        && let Some(seconds) = rescue(server, contestant).await.context("rescue")?
    {
        figures.insert("rescue_s", seconds);
    }
    Ok(figures)
}

async fn fresh(server: &str, contestant: &Contestant) -> anyhow::Result<Database> {
    let name: String = contestant.name.chars().filter(char::is_ascii_alphanumeric).collect();
    let database = Database::create(server, &name).await?;
    contestant.finish(&["setup", &database.url]).await?;
    Ok(database)
}

/// Jobs per second of a command that says how many it did in how long.
fn rate(lines: &[Value]) -> anyhow::Result<f64> {
    let said = lines.last().context("it said nothing")?;
    let jobs = said["jobs"].as_f64().context("no jobs")?;
    Ok(jobs / said["seconds"].as_f64().context("no seconds")?)
}

async fn enqueue(
    server: &str,
    contestant: &Contestant,
    sizes: &Sizes,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let database = fresh(server, contestant).await?;
    let seconds = sizes.enqueue.as_secs_f64().to_string();
    for (key, callers) in [("enqueue_tx_1", "1"), ("enqueue_tx_16", "16")] {
        let said = contestant.finish(&["enqueue", &database.url, callers, &seconds]).await?;
        figures.insert(key, rate(&said)?);
    }
    if contestant.enqueues_in_bulk {
        let jobs = sizes.drain.to_string();
        let said = contestant.finish(&["bulk", &database.url, &jobs, BATCH, "noop"]).await?;
        figures.insert("enqueue_bulk", rate(&said)?);
    }
    database.remove().await
}

async fn drain(
    server: &str,
    contestant: &Contestant,
    sizes: &Sizes,
    mode: &str,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let jobs = sizes.drain / contestant.share / if mode == "tx" { 4 } else { 1 };
    let database = fresh(server, contestant).await?;
    let count = jobs.to_string();
    contestant.finish(&["bulk", &database.url, &count, BATCH, mode]).await?;
    database.settle(contestant.table).await?;
    let postmaster = database.postmaster().await?;
    let before = processes::cpu(&[], postmaster);
    let mut workers = start(contestant, &database, mode).await?;
    let first = first(&mut workers).await?;
    until_done(&mut workers, jobs).await?;
    while database.is(contestant.left).await? {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let end = now();
    let pids: Vec<_> = workers.iter().map(|w| ("worker".to_owned(), w.pid)).collect();
    let after = processes::cpu(&pids, postmaster);
    // A moment later nobody has run more: what is run twice is not fast but wrong.
    let ran = Progress::of(&mut workers).ran;
    if contestant.name == super::OURS {
        ensure!(ran == jobs, "{ran} runs of {jobs} jobs");
    }
    let key = if mode == "tx" { "drain_trivial_tx" } else { "drain_noop" };
    figures.insert(key, per_second(jobs - first.ran, end - first.at));
    if mode == "noop" {
        let used = |name: &str| {
            let seconds = after.get(name).unwrap_or(&0.0) - before.get(name).unwrap_or(&0.0);
            seconds * 1e6 / as_f64(jobs)
        };
        figures.insert("drain_postgres_cpu_us", used("postgres"));
        figures.insert("drain_worker_cpu_us", used("worker"));
        let peak = processes::peak_rss(&pids);
        figures.insert("rss_mb", peak.values().copied().fold(0.0, f64::max));
    }
    drop(workers);
    database.remove().await
}

/// The drain rate of ours with so many jobs waiting, and so many in the history.
pub async fn drain_loaded(
    server: &str,
    contestant: &Contestant,
    sizes: &Sizes,
    history: u64,
) -> anyhow::Result<f64> {
    let database = fresh(server, contestant).await?;
    if history > 0 {
        eprintln!("writing {history} jobs into the history");
        // The columns by name, so that those which other migrations add keep their defaults.
        database
            .execute(&format!(
                "insert into job_history (id, kind, version, queue, priority, state, attempt, max_attempts, snoozes,
                     claim, run_at, payload, failures, created_at, finished_at)
                 select gen_random_uuid(), 'bench.plain', 1, 'bench', 0, 'done', 1, 10, 0, 1, now(),
                     jsonb_build_object('n', n, 'note', repeat('x', 76)), '[]', now(), now()
                 from generate_series(1, {history}) n"
            ))
            .await?;
        database.settle("job_history").await?;
    }
    let waiting = sizes.waiting.to_string();
    contestant.finish(&["bulk", &database.url, &waiting, BATCH, "noop"]).await?;
    database.settle(contestant.table).await?;
    let mut workers = start(contestant, &database, "noop").await?;
    let first = first(&mut workers).await?;
    let last = until_done(&mut workers, sizes.drain.min(sizes.waiting)).await?;
    drop(workers);
    database.remove().await?;
    Ok(per_second(last.ran - first.ran, last.at - first.at))
}

async fn start(contestant: &Contestant, database: &Database, mode: &str) -> anyhow::Result<Vec<Working>> {
    let starting = (0..PROCESSES).map(|_| contestant.worker(&database.url, mode, contestant.concurrency));
    futures::future::try_join_all(starting).await
}

/// How many jobs were run, and when it was said.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    ran: u64,
    at: u64,
}

impl Progress {
    fn of(workers: &mut [Working]) -> Self {
        let mut all = Self::default();
        for worker in workers {
            while let Some(line) = worker.said() {
                worker.ran = line["done"].as_u64().unwrap_or(worker.ran);
                worker.at = line["at"].as_u64().unwrap_or(worker.at);
            }
            all.ran += worker.ran;
            all.at = all.at.max(worker.at);
        }
        all
    }
}

/// Where the clock starts: when the first jobs were run.
async fn first(workers: &mut [Working]) -> anyhow::Result<Progress> {
    until_done(workers, 1).await
}

async fn until_done(workers: &mut [Working], jobs: u64) -> anyhow::Result<Progress> {
    let mut last = (Progress::default(), Instant::now());
    loop {
        let progress = Progress::of(workers);
        if progress.ran >= jobs {
            return Ok(progress);
        }
        if progress.ran > last.0.ran {
            last = (progress, Instant::now());
        }
        ensure!(last.1.elapsed() < Duration::from_secs(60), "it stands still at {} of {jobs}", progress.ran);
        for worker in workers.iter_mut() {
            ensure!(worker.runs()?, "a worker ended");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn pickup(
    server: &str,
    contestant: &Contestant,
    sizes: &Sizes,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let database = fresh(server, contestant).await?;
    let mut worker = contestant.worker(&database.url, "stamp", CONCURRENCY).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let jobs = sizes.pickups.to_string();
    let said = contestant.finish(&["pace", &database.url, &jobs, "50"]).await?;
    let committed: HashMap<u64, u64> =
        said.iter().filter_map(|line| Some((line["n"].as_u64()?, line["at"].as_u64()?))).collect();
    let mut waits = Vec::with_capacity(committed.len());
    while waits.len() < committed.len() {
        let (n, at) = worker.next(|line| Some((line["n"].as_u64()?, line["at"].as_u64()?))).await?;
        // One that begins before the caller has heard of its own commit was not waited for at all.
        let wait = at.saturating_sub(*committed.get(&n).context("a job that nobody enqueued")?);
        waits.push(as_f64(wait) / 1_000.0);
    }
    waits.sort_unstable_by(f64::total_cmp);
    for (key, part) in [("pickup_ms_p50", 50), ("pickup_ms_p95", 95), ("pickup_ms_p99", 99)] {
        figures.insert(key, waits[(waits.len() - 1) * part / 100]);
    }
    drop(worker);
    database.remove().await
}

/// Seconds from the SIGKILL of a worker until another has done all that it held.
async fn rescue(server: &str, contestant: &Contestant) -> anyhow::Result<Option<f64>> {
    let database = fresh(server, contestant).await?;
    let mut victim = contestant.worker(&database.url, "hold", CONCURRENCY).await?;
    let held = HELD.to_string();
    contestant.finish(&["bulk", &database.url, &held, &held, "noop"]).await?;
    for _ in 0..HELD {
        victim.next(|line| line["held"].as_u64()).await?;
    }
    let mut other = contestant.worker(&database.url, "noop", CONCURRENCY).await?;
    // Until it has looked for work, and for dead ones, more than once.
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(Progress::of(std::slice::from_mut(&mut other)).ran == 0, "jobs of a living worker were taken");
    let killed = Instant::now();
    victim.kill().await?;
    let rescued = loop {
        if !database.is(contestant.left).await? {
            break Some(killed.elapsed().as_secs_f64());
        }
        if killed.elapsed() > RESCUE_LIMIT {
            break None;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    if rescued.is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let ran = Progress::of(std::slice::from_mut(&mut other)).ran;
        ensure!(ran == HELD as u64 || contestant.name != super::OURS, "{ran} runs of {HELD} jobs");
    }
    drop(other);
    database.remove().await?;
    Ok(rescued)
}

fn per_second(jobs: u64, microseconds: u64) -> f64 {
    as_f64(jobs) * 1e6 / as_f64(microseconds.max(1))
}

#[allow(clippy::cast_precision_loss)]
const fn as_f64(n: u64) -> f64 {
    n as f64
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
