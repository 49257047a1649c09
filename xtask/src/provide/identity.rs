//! Which process is whose, before any signal is sent.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;

/// Whether a live process `pid` names `mark` (a folder of ours) on its command line.
///
/// A bare pid proves nothing: after a power cut another process may have it. A zombie has no
/// command line and so counts as gone.
pub fn is_ours(pid: u32, mark: &std::path::Path) -> bool {
    command_line(pid).is_some_and(|line| line.contains(&*mark.to_string_lossy()))
}

#[cfg(target_os = "linux")]
fn command_line(pid: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

#[cfg(not(target_os = "linux"))]
fn command_line(pid: u32) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether any process works in `folder`. Where there is no way to tell, none does.
pub fn works_in(folder: &std::path::Path) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes
        .filter_map(|process| std::fs::read_link(process.ok()?.path().join("cwd")).ok())
        .any(|works_in| works_in == folder)
}

/// Sends a signal; a process that is already gone is no error.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let raw = i32::try_from(pid).context("a pid out of range")?;
    match kill(Pid::from_raw(raw), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("sending {signal} to process {pid}")),
    }
}

/// Sends `signals` one after the other, each with its patience, until the process is gone.
pub async fn end(pid: u32, mark: &std::path::Path, signals: &[(Signal, Duration)]) -> Result<()> {
    for (name, patience) in signals {
        if !is_ours(pid, mark) {
            return Ok(());
        }
        signal(pid, *name)?;
        let gone = clock::until("the end of a process", *patience, || async {
            Ok((!is_ours(pid, mark)).then_some(()))
        })
        .await;
        if gone.is_ok() {
            return Ok(());
        }
    }
    bail!("process {pid} would not end")
}
