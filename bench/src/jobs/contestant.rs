//! The programs that are measured, and talking to them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};

/// A job platform with a program that speaks as [`crate::program`] says.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// Under which its figures are printed.
    pub name: &'static str,
    program: PathBuf,
    before: &'static [&'static str],
    /// Whether jobs are left to do.
    pub left: &'static str,
    /// What is to be vacuumed after the table was filled.
    pub table: &'static str,
    /// Whether it can complete a job in the handler's transaction.
    pub completes_in_transaction: bool,
    /// Whether it can enqueue many jobs in a statement.
    pub enqueues_in_bulk: bool,
    /// Jobs that a worker of a drain runs at a time, as suits the platform best.
    pub concurrency: usize,
    /// Jobs of a drain, as a share of ours: slower ones would take minutes.
    pub share: u64,
}

/// Ours.
pub fn ours() -> anyhow::Result<Contestant> {
    Ok(Contestant {
        name: "waybill",
        program: std::env::current_exe()?,
        before: &["platform"],
        left: "select exists (select from jobs)",
        table: "jobs",
        completes_in_transaction: true,
        enqueues_in_bulk: true,
        // Four batches of claims: while one is completed the next can be claimed.
        concurrency: 2_000,
        share: 1,
    })
}

/// Those of `bench/baselines`, built into `folder`.
pub fn baselines(folder: &Path) -> Vec<Contestant> {
    let of = |name, program: &str, left, table, enqueues_in_bulk, share| Contestant {
        name,
        program: folder.join(program),
        before: &[],
        left,
        table,
        completes_in_transaction: false,
        enqueues_in_bulk,
        // For `graphile_worker`, whose local queues fetch ahead, the size of what is fetched is set in its program.
        concurrency: 500,
        share,
    };
    let apalis_left = "select exists (select from apalis.jobs where status <> 'Done')";
    vec![
        of(
            "graphile_worker 0.14",
            "baseline-graphile",
            "select exists (select from graphile_worker._private_jobs)",
            "graphile_worker._private_jobs",
            true,
            1,
        ),
        of("apalis-postgres 1.0", "baseline-apalis1", apalis_left, "apalis.jobs", true, 4),
        of("apalis-sql 0.7", "baseline-apalis07", apalis_left, "apalis.jobs", false, 8),
    ]
}

impl Contestant {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.before).args(arguments).kill_on_drop(true);
        command
    }

    /// Runs a command to its end; the lines it printed.
    pub async fn finish(&self, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
        let output = self
            .command(arguments)
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("starting {}", self.program.display()))?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} {}: {error}", self.name, arguments[0]);
        String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Starts a worker and waits until it is ready.
    pub async fn worker(&self, url: &str, mode: &str, concurrency: usize) -> anyhow::Result<Working> {
        let concurrency = concurrency.to_string();
        let mut command = self.command(&["work", url, mode, &concurrency]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // Logs of the platform itself are no JSON.
                if let Ok(line) = serde_json::from_str::<Value>(&line)
                    && sender.send(line).is_err()
                {
                    return;
                }
            }
        });
        let pid = child.id().context("it has ended")?;
        let mut working = Working { child, lines, pid, ran: 0, at: 0, _input: input };
        working.next(|line| (line["event"] == "ready").then_some(())).await?;
        Ok(working)
    }
}

/// A worker that runs.
pub struct Working {
    child: Child,
    lines: mpsc::UnboundedReceiver<Value>,
    /// Its process.
    pub pid: u32,
    /// How many jobs it has run, as far as it was heard.
    pub ran: u64,
    /// When it said so.
    pub at: u64,
    // When it closes, the worker ends.
    _input: Option<ChildStdin>,
}

impl Working {
    /// The first thing that `pick` finds in what it says.
    pub async fn next<T>(&mut self, mut pick: impl FnMut(&Value) -> Option<T>) -> anyhow::Result<T> {
        let search = async {
            while let Some(line) = self.lines.recv().await {
                if let Some(found) = pick(&line) {
                    return Ok(found);
                }
            }
            bail!("a worker ended")
        };
        tokio::time::timeout(Duration::from_secs(60), search).await.context("a worker says nothing")?
    }

    /// The next thing that it says, if it has said something.
    pub fn said(&mut self) -> Option<Value> {
        self.lines.try_recv().ok()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// SIGKILL.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}
