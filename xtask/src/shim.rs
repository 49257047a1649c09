//! A few lines that run between fork and the real program.
//!
//! Safe Rust has no hook there (`pre_exec` is unsafe), so the child is first this very binary,
//! which arranges its own process and then replaces itself.

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Error, Result, bail};
use nix::unistd::{User, initgroups, setgid, setsid, setuid};

#[derive(clap::Args)]
pub struct Args {
    /// Be killed when this process, our parent, is gone
    #[arg(long)]
    parent: Option<u32>,
    /// Lead a session of its own, out of reach of the terminal's signals
    #[arg(long)]
    detach: bool,
    /// Give up root for this account
    #[arg(long)]
    user: Option<String>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Returns only when it could not become the program.
pub fn run(args: &Args) -> Error {
    if let Err(error) = prepare(args) {
        return error;
    }
    let program = args.command.first().map_or("", String::as_str);
    let error = Command::new(program).args(args.command.iter().skip(1)).exec();
    Error::new(error).context(format!("starting {program}"))
}

fn prepare(args: &Args) -> Result<()> {
    if args.detach {
        setsid().context("starting a session")?;
    }
    if let Some(name) = &args.user {
        become_user(name)?;
    }
    // After the change of user, which clears the setting.
    if let Some(parent) = args.parent {
        die_with(parent)?;
    }
    Ok(())
}

fn become_user(name: &str) -> Result<()> {
    let user = User::from_name(name)?.with_context(|| format!("no account named {name}"))?;
    let c_name = CString::new(name).context("account name")?;
    #[cfg(not(target_os = "macos"))]
    initgroups(&c_name, user.gid).context("setting groups")?;
    setgid(user.gid).context("setting the group")?;
    setuid(user.uid).with_context(|| format!("becoming {name}"))?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn die_with(parent: u32) -> Result<()> {
    use nix::sys::prctl::set_pdeathsig;
    use nix::sys::signal::Signal;

    set_pdeathsig(Signal::SIGKILL).context("binding to the parent")?;
    // The parent may have gone before the kernel knew that we care.
    if std::os::unix::process::parent_id() != parent {
        bail!("the starting process is gone");
    }
    Ok(())
}

/// Elsewhere the supervisor's own clean-up is all there is.
#[cfg(not(target_os = "linux"))]
fn die_with(_parent: u32) -> Result<()> {
    Ok(())
}

/// How to start a child.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub die_with_parent: bool,
    pub detach: bool,
    pub user: Option<String>,
}

/// A command that runs `program` under `rules`.
pub fn command(rules: &Rules, program: &std::path::Path) -> Result<Command> {
    let mut command = Command::new(own_image()?);
    command.arg("shim");
    if rules.die_with_parent {
        command.arg("--parent").arg(std::process::id().to_string());
    }
    if rules.detach {
        command.arg("--detach");
    }
    if let Some(user) = &rules.user {
        command.arg("--user").arg(user);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// The path of this binary, for commands that others run later. A build may replace the file in the
/// meantime, which the kernel tells by an addition to the name; the new one serves as well.
pub fn own_path() -> Result<PathBuf> {
    let path = std::env::current_exe().context("finding xtask's own binary")?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

/// On Linux by way of /proc: that still works after a rebuild has replaced the file.
fn own_image() -> Result<PathBuf> {
    let image = PathBuf::from("/proc/self/exe");
    if image.exists() { Ok(image) } else { own_path() }
}
