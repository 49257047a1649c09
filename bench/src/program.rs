//! What `bench jobs` asks of a job platform, ours or another's: a program with these commands, so that all of them are driven
//! and timed in the same way. The baselines include this file by its path, so it uses nothing of ours.
//!
//! | command | does, and prints on standard output |
//! |---|---|
//! | `setup URL` | makes the tables |
//! | `enqueue URL CALLERS SECONDS` | one job a transaction; `{"jobs":…,"seconds":…}` |
//! | `bulk URL JOBS BATCH MODE` | many jobs a statement; `{"jobs":…,"seconds":…}` |
//! | `pace URL JOBS PER_SECOND` | one job at a time; `{"n":…,"at":…}` when each is committed |
//! | `work URL MODE CONCURRENCY` | `{"event":"ready"}`, then what it has run, until its standard input is closed |
//!
//! A worker in mode `noop` or `tx` says every 20 ms how many it has run; in mode `stamp` when it began each job; in mode
//! `hold` which jobs it has begun, and ends none. Times are microseconds since 1970: all programs run on one machine.

use std::{
    future::Future,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The arguments of a job: about 100 bytes of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Work {
    /// Its number.
    pub n: u64,
    /// What makes it as long as most jobs are.
    pub note: String,
}

impl Work {
    /// Job number `n`.
    pub fn new(n: u64) -> Self {
        let note = "an order of two mugs and a lantern, to be sent to the far end of the street".to_owned();
        Self { n, note }
    }
}

/// What a worker does with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Noop,
    /// Writes a row in the transaction that completes the job.
    Tx,
    /// Says when it began.
    Stamp,
    /// Begins and never ends.
    Hold,
}

impl Mode {
    fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(match text {
            "noop" => Self::Noop,
            "tx" => Self::Tx,
            "stamp" => Self::Stamp,
            "hold" => Self::Hold,
            other => bail!("there is no mode {other}"),
        })
    }
}

/// What has been run, shared by all handlers of a worker.
#[derive(Debug, Clone)]
pub struct Runs {
    mode: Mode,
    done: Arc<AtomicU64>,
}

impl Runs {
    /// A handler's part: to be awaited for each job.
    pub async fn run(&self, work: &Work) {
        match self.mode {
            Mode::Noop | Mode::Tx => {
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            Mode::Stamp => say(&json!({ "n": work.n, "at": now() })),
            Mode::Hold => {
                say(&json!({ "held": work.n }));
                std::future::pending::<()>().await;
            }
        }
    }

    /// What this worker is to do with its jobs.
    #[allow(dead_code)]
    pub const fn mode(&self) -> Mode {
        self.mode
    }
}

/// A job platform.
pub trait Platform: Sized + Send + Sync + 'static {
    /// Connects with at most so many connections.
    fn open(url: &str, connections: u32) -> impl Future<Output = anyhow::Result<Self>> + Send;
    /// Makes the tables.
    fn setup(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Enqueues a job in a transaction of its own.
    fn enqueue(&self, work: Work) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Enqueues many at once, by the quickest means that the platform offers.
    fn enqueue_all(&self, works: Vec<Work>, mode: Mode) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Runs jobs for ever, so many at a time; told of each by `runs`.
    fn work(
        self,
        url: &str,
        concurrency: usize,
        runs: Runs,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Runs the command that the arguments name.
pub async fn run<P: Platform>(arguments: &[String]) -> anyhow::Result<()> {
    let at = |index: usize| arguments.get(index).map(String::as_str).context("an argument is missing");
    let url = at(1)?;
    match at(0)? {
        "setup" => P::open(url, 1).await?.setup().await,
        "enqueue" => enqueue::<P>(url, at(2)?.parse()?, Duration::from_secs_f64(at(3)?.parse()?)).await,
        "bulk" => bulk::<P>(url, at(2)?.parse()?, at(3)?.parse()?, Mode::parse(at(4)?)?).await,
        "pace" => pace::<P>(url, at(2)?.parse()?, at(3)?.parse()?).await,
        "work" => work::<P>(url, Mode::parse(at(2)?)?, at(3)?.parse()?).await,
        other => bail!("there is no command {other}"),
    }
}

async fn enqueue<P: Platform>(url: &str, callers: u32, length: Duration) -> anyhow::Result<()> {
    let platform = Arc::new(P::open(url, callers).await?);
    // Connections are made and statements prepared before the clock runs.
    let first = (0..callers).map(|_| platform.enqueue(Work::new(0)));
    futures::future::try_join_all(first).await?;
    let jobs = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let callers = (0..callers).map(|_| {
        let (platform, jobs) = (Arc::clone(&platform), Arc::clone(&jobs));
        tokio::spawn(async move {
            while start.elapsed() < length {
                platform.enqueue(Work::new(jobs.fetch_add(1, Ordering::Relaxed))).await?;
            }
            anyhow::Ok(())
        })
    });
    for caller in futures::future::try_join_all(callers).await? {
        caller?;
    }
    say(&json!({ "jobs": jobs.load(Ordering::Relaxed), "seconds": start.elapsed().as_secs_f64() }));
    Ok(())
}

async fn bulk<P: Platform>(url: &str, jobs: u64, batch: u64, mode: Mode) -> anyhow::Result<()> {
    let platform = P::open(url, 1).await?;
    let mut next = 0;
    let start = Instant::now();
    while next < jobs {
        let end = (next + batch).min(jobs);
        platform.enqueue_all((next..end).map(Work::new).collect(), mode).await?;
        next = end;
    }
    say(&json!({ "jobs": jobs, "seconds": start.elapsed().as_secs_f64() }));
    Ok(())
}

async fn pace<P: Platform>(url: &str, jobs: u64, per_second: u32) -> anyhow::Result<()> {
    let platform = P::open(url, 1).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    for n in 0..jobs {
        ticks.tick().await;
        platform.enqueue(Work::new(n)).await?;
        say(&json!({ "n": n, "at": now() }));
    }
    // A hint that is sent after the commit must have time to go out.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

async fn work<P: Platform>(url: &str, mode: Mode, concurrency: usize) -> anyhow::Result<()> {
    let runs = Runs { mode, done: Arc::default() };
    let done = Arc::clone(&runs.done);
    let platform = P::open(url, 8).await?;
    let url = url.to_owned();
    let working = tokio::spawn(async move { platform.work(&url, concurrency, runs).await });
    say(&json!({ "event": "ready" }));
    // The driver's end of the pipe closes with the driver, whatever becomes of it.
    let closed = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let report = async {
        let mut said = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now_done = done.load(Ordering::Relaxed);
            if now_done != said {
                say(&json!({ "done": now_done, "at": now() }));
                said = now_done;
            }
        }
    };
    tokio::select! {
        ended = working => ended?,
        _ = closed => Ok(()),
        () = report => Ok(()),
    }
}

/// Microseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn say(line: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: then the closed input ends this process.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
