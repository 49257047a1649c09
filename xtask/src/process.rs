//! Waybill's own processes: started, watched until they are ready, ended in order.
//!
//! None outlives xtask: each is bound to it by the kernel where the kernel can (see [`crate::shim`]),
//! and killed when its [`Running`] is dropped.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::oneshot;

use crate::{clock, shim};

/// A process that is not ready by then has a problem, and its log says which.
const READY_PATIENCE: Duration = Duration::from_mins(1);

/// Makes ring the TLS provider; the HTTP client comes without one.
pub fn install_crypto() {
    // The only error is "a provider is already installed".
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// How to start one process.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Its name on the screen and the stem of its log file.
    pub name: String,
    pub binary: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// The folder for logs.
    pub logs: PathBuf,
    pub working_folder: PathBuf,
}

/// A process that is ready, or was.
#[derive(Debug)]
pub struct Running {
    pub name: String,
    pub pid: u32,
    /// Where it serves health and metrics (the API: everything).
    pub address: SocketAddr,
    pub log: PathBuf,
    child: Child,
}

impl Launch {
    /// Starts it and waits until `/health/ready` says yes.
    pub async fn start(&self) -> Result<Running> {
        let log = self.logs.join(format!("{}.log", self.name));
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = self.command()?;
        command.stdout(Stdio::piped()).stderr(file.try_clone()?);
        let mut child = command.spawn().with_context(|| format!("starting {}", self.binary.display()))?;
        let pid = child.id().context("the process has no pid")?;
        let output = child.stdout.take().context("the process has no standard output")?;
        let (tell, told) = oneshot::channel();
        tokio::spawn(follow(output, tokio::fs::File::from_std(file), tell));

        let address = tokio::select! {
            address = tokio::time::timeout(READY_PATIENCE, told) => match address {
                Ok(Ok(address)) => address,
                Ok(Err(_)) => {
                    let _ = child.wait().await;
                    bail!("{} ended at its start:\n{}", self.name, tail(&log));
                }
                Err(_) => bail!("{} did not say where it listens, see {}", self.name, log.display()),
            },
            status = child.wait() => {
                bail!("{} ended with {}:\n{}", self.name, status?, tail(&log));
            }
        };
        let mut running = Running { name: self.name.clone(), pid, address, log, child };
        running.until_ready().await?;
        Ok(running)
    }

    /// Runs it to its end, as for a migration.
    pub async fn finish(&self) -> Result<()> {
        let log = self.logs.join(format!("{}.log", self.name));
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = self.command()?;
        let status = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .await
            .with_context(|| format!("starting {}", self.binary.display()))?;
        if !status.success() {
            bail!("{} ended with {status}:\n{}", self.name, tail(&log));
        }
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        // A thread's death counts as the parent's for the kernel; the runtime's threads live to the end.
        let rules = shim::Rules { die_with_parent: true, ..shim::Rules::default() };
        let mut command = Command::from(shim::command(&rules, &self.binary)?);
        // A setting in the caller's own environment would otherwise reach every process.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let setting = text.starts_with("WAYBILL_") && !text.contains("LOG");
            if setting || text == "DATABASE_URL" || text == "AMQP_URL" {
                command.env_remove(&name);
            }
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.working_folder)
            .stdin(Stdio::null())
            // Ctrl-C is for xtask, which then ends its processes in order.
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }
}

impl Running {
    async fn until_ready(&mut self) -> Result<()> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        let url = format!("http://{}/health/ready", self.address);
        let what = format!("the readiness of {} (log {})", self.name, self.log.display());
        let log = self.log.clone();
        let name = self.name.clone();
        clock::until(&what, READY_PATIENCE, || {
            let ended = self.child.try_wait();
            let request = client.get(&url).send();
            let (name, log) = (&name, &log);
            async move {
                if let Some(status) = ended? {
                    bail!("{name} ended with {status}:\n{}", tail(log));
                }
                Ok(request.await.is_ok_and(|answer| answer.status().is_success()).then_some(()))
            }
        })
        .await
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// SIGTERM, and SIGKILL for what is still there after `patience`. True when SIGTERM was enough.
    pub async fn stop(mut self, patience: Duration) -> Result<bool> {
        if self.has_ended() {
            return Ok(true);
        }
        send(self.pid, Signal::SIGTERM)?;
        if tokio::time::timeout(patience, self.child.wait()).await.is_ok() {
            return Ok(true);
        }
        self.child.kill().await.with_context(|| format!("killing {}", self.name))?;
        Ok(false)
    }

    /// SIGKILL, as when the machine takes the process away; returns when it is gone.
    pub async fn kill9(mut self) -> Result<()> {
        send(self.pid, Signal::SIGKILL)?;
        self.child.wait().await.with_context(|| format!("waiting for {}", self.name))?;
        Ok(())
    }
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let raw = i32::try_from(pid).context("a pid out of range")?;
    kill(Pid::from_raw(raw), signal).with_context(|| format!("sending {signal} to process {pid}"))
}

/// Waits for the line that tells the address, and keeps the pipe empty afterwards.
async fn follow(output: ChildStdout, mut log: tokio::fs::File, tell: oneshot::Sender<SocketAddr>) {
    let mut tell = Some(tell);
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = announced(&line)
            && let Some(tell) = tell.take()
        {
            let _ = tell.send(address);
        }
        let _ = log.write_all(format!("{line}\n").as_bytes()).await;
    }
}

/// The address in `{"event":"listening","service":"…","address":"…"}`.
fn announced(line: &str) -> Option<SocketAddr> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    if value.get("event")?.as_str()? != "listening" {
        return None;
    }
    value.get("address")?.as_str()?.parse().ok()
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    const LINES: usize = 15;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::announced;

    #[test]
    fn only_the_listening_line_tells_an_address() {
        let line = r#"{"event":"listening","service":"waybill-api","address":"127.0.0.1:8080"}"#;
        assert_eq!(announced(line), "127.0.0.1:8080".parse().ok());
        assert_eq!(announced(r#"{"event":"stopped","address":"127.0.0.1:8080"}"#), None);
        assert_eq!(announced("hello"), None);
    }
}
