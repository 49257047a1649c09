//! One of our binaries, running.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// Where the binaries are: as `cargo xtask test` says, else where this test's own binary comes from.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let folder = match env::var_os("WAYBILL_TEST_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let test = env::current_exe()?;
            test.parent().and_then(Path::parent).context("a test binary lies in deps/")?.to_owned()
        }
    };
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} is not built; run the tests through `cargo xtask test`", path.display());
    }
    Ok(path)
}

/// A process that has said where it listens.
pub struct Process {
    /// What it is called in messages.
    pub name: String,
    /// Where it serves health and metrics, and the API everything.
    pub address: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a binary and waits for the line that says where it listens.
    pub async fn start(
        name: &str,
        arguments: &[&str],
        settings: &BTreeMap<String, String>,
        logs: &Path,
        number: usize,
    ) -> anyhow::Result<Self> {
        let log = logs.join(format!("{name}-{number}.log"));
        let file = File::create(&log)?;
        let mut command = Command::new(binary(name)?);
        for (key, _) in env::vars_os() {
            let text = key.to_string_lossy();
            if text.starts_with("WAYBILL_") || text == "DATABASE_URL" || text == "AMQP_URL" {
                command.env_remove(&key);
            }
        }
        let mut child = command
            .args(arguments)
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(output).lines();
        let told = async {
            while let Some(line) = lines.next_line().await? {
                let Ok(said) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
                if let (Some("listening"), Some(address)) = (said["event"].as_str(), said["address"].as_str())
                {
                    return anyhow::Ok(Some(address.to_owned()));
                }
            }
            Ok(None)
        };
        match tokio::time::timeout(Duration::from_secs(60), told).await {
            Ok(Ok(Some(address))) => Ok(Self { name: format!("{name}-{number}"), address, child, log }),
            _ => bail!("{name} did not start:\n{}", tail(&log)),
        }
    }

    /// Runs a binary to its end.
    pub async fn finish(
        name: &str,
        arguments: &[&str],
        settings: &BTreeMap<String, String>,
    ) -> anyhow::Result<(bool, String, String)> {
        let output = Command::new(binary(name)?)
            .args(arguments)
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH".to_owned(), path)))
            .envs(settings)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }

    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<Pid> {
        let id = self.child.id().context("it has ended")?;
        Ok(Pid::from_raw(i32::try_from(id)?))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("{signal} for {}", self.name))
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().await?;
        Ok(())
    }

    /// Asks it to stop and waits; returns whether it ended well.
    pub async fn stop(&mut self) -> anyhow::Result<bool> {
        self.signal(Signal::SIGTERM)?;
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} does not stop:\n{}", self.name, tail(&self.log)))??.success())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Its log.
    pub fn whole_log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        tail(&self.log)
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
