//! The system's package manager, where it is apt and we may use it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use tokio::process::Command;
use tokio::sync::Mutex;

use super::find;
use crate::workspace::Workspace;

/// apt allows one run at a time; Postgres and `RabbitMQ` are provided concurrently.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Says "do not start services" to the packages' scripts. The nodes we start are private; a
/// system-wide server on the standard port is neither needed nor ours to leave behind.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\nexit 101\n";

pub async fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let Some(apt) = find::program("apt-get", &["/usr/bin"]) else { bail!("no apt-get here") };
    if !geteuid().is_root() {
        bail!("apt-get needs root");
    }
    let names = packages.join(" ");
    eprintln!("installing {names} with apt-get (log in .local/logs/apt.log)");
    let _policy = Policy::hold()?;
    let log = workspace.logs()?.join("apt.log");
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend_from_slice(packages);
    // The lists may be missing or old; an update takes longer than a failed try.
    if run(&apt, &arguments, &log).await.is_err() {
        run(&apt, &["update"], &log).await.context("apt-get update failed, see .local/logs/apt.log")?;
        run(&apt, &arguments, &log)
            .await
            .with_context(|| format!("apt-get could not install {names}, see .local/logs/apt.log"))?;
    }
    Ok(())
}

async fn run(apt: &Path, arguments: &[&str], log: &Path) -> Result<()> {
    let output = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    let status = Command::new(apt)
        .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .await
        .context("starting apt-get")?;
    if !status.success() {
        bail!("apt-get ended with {status}");
    }
    Ok(())
}

/// The policy file, taken away again at the end; one that was there before stays.
struct Policy {
    ours: bool,
}

impl Policy {
    fn hold() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        std::fs::write(POLICY, POLICY_TEXT).with_context(|| format!("writing {POLICY}"))?;
        std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            // Nothing to be done about a failure here, and the file does no harm to us.
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
