//! A private `RabbitMQ` node from installed scripts.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::User;
use rand::Rng;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::{Options, account, find, identity};
use crate::workspace::Workspace;
use crate::{clock, ports, shim};

pub const SERVICE: &str = "rabbitmq";

/// An Erlang VM under load takes its time; ten times what was seen on two busy cores.
const START_PATIENCE: Duration = Duration::from_mins(2);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Broker {
    pub folder: PathBuf,
    server: PathBuf,
    user: Option<String>,
    node_name: String,
    port: u16,
    /// Erlang's port mapper, one of our own: the usual one may belong to somebody else.
    mapper_port: u16,
    cluster_port: u16,
    ephemeral: bool,
}

/// The server's start script. Debian's script on PATH insists on the system-wide folders; the one it
/// wraps does not.
pub fn find_server() -> Option<PathBuf> {
    let wrapped = PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server");
    if wrapped.is_file() {
        return Some(wrapped);
    }
    find::program("rabbitmq-server", &["/opt/homebrew/sbin", "/usr/local/sbin", "/usr/sbin"])
}

impl Broker {
    pub fn prepare(options: &Options, server: PathBuf, state: &Path) -> Result<Self> {
        let user = account::service_user(&["rabbitmq"])?;
        let folder = account::folder(options, SERVICE, user.as_ref())?;
        let before = match super::Node::load(state)? {
            Some(super::Node::Rabbitmq(broker)) => Some(broker),
            _ => None,
        };
        let mut broker = Self {
            folder,
            server,
            user: user.as_ref().map(|user| user.name.clone()),
            node_name: format!("{}@localhost", options.unique_name(SERVICE)),
            port: before.as_ref().map_or(0, |broker| broker.port),
            mapper_port: before.as_ref().map_or(0, |broker| broker.mapper_port),
            cluster_port: before.as_ref().map_or(0, |broker| broker.cluster_port),
            ephemeral: options.ephemeral(),
        };
        if broker.pid().is_none() {
            broker.choose_ports()?;
            broker.configure(user.as_ref())?;
        }
        Ok(broker)
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    pub fn describe(&self, workspace: &Workspace) -> String {
        let kind = if self.ephemeral { "throw-away" } else { "private" };
        let place = workspace.shown(&self.folder);
        format!("{kind} node on 127.0.0.1:{}, data in {place}", self.port)
    }

    fn choose_ports(&mut self) -> Result<()> {
        for port in [&mut self.port, &mut self.mapper_port, &mut self.cluster_port] {
            *port = ports::keep_or_free(Some(*port).filter(|port| *port != 0))?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn configure(&self, user: Option<&User>) -> Result<()> {
        let settings = format!(
            "# Written by `cargo xtask`.\n\
             listeners.tcp.1 = 127.0.0.1:{}\n\
             vm_memory_high_watermark.absolute = 1GB\n\
             disk_free_limit.absolute = 200MB\n\
             raft.wal_max_size_bytes = 67108864\n\
             log.file.level = warning\n",
            self.port
        );
        account::write_for(user, &self.path("rabbitmq.conf"), &settings, false)?;
        account::write_for(user, &self.path("plugins"), "[].\n", false)?;
        // Read by the scripts instead of the system-wide file of the same purpose.
        account::write_for(user, &self.path("environment"), "", false)?;
        let cookie = self.path(".erlang.cookie");
        if !cookie.exists() {
            let secret: String = rand::rng().sample_iter(&Alphanumeric).take(32).map(char::from).collect();
            account::write_for(user, &cookie, &secret, true)?;
        }
        Ok(())
    }

    /// The script, as the right account, with an environment of its own.
    fn command(&self) -> Result<std::process::Command> {
        self.command_of(&self.server)
    }

    fn command_of(&self, program: &Path) -> Result<std::process::Command> {
        let rules = shim::Rules { die_with_parent: false, detach: true, user: self.user.clone() };
        let mut command = shim::command(&rules, program)?;
        command.env_clear().current_dir(&self.folder).stdin(Stdio::null());
        for (name, value) in [
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("LANG", "C.UTF-8".into()),
            ("HOME", self.folder.clone().into_os_string()),
            ("ERL_CRASH_DUMP", self.path("erl_crash.dump").into_os_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("ERL_EPMD_PORT", self.mapper_port.to_string().into()),
            ("RABBITMQ_DIST_PORT", self.cluster_port.to_string().into()),
            ("RABBITMQ_NODENAME", self.node_name.clone().into()),
            ("RABBITMQ_CONF_ENV_FILE", self.path("environment").into_os_string()),
            ("RABBITMQ_CONFIG_FILE", self.path("rabbitmq.conf").into_os_string()),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", self.path("advanced.config").into_os_string()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("plugins").into_os_string()),
            ("RABBITMQ_MNESIA_BASE", self.path("mnesia").into_os_string()),
            ("RABBITMQ_LOG_BASE", self.path("log").into_os_string()),
            ("RABBITMQ_PID_FILE", self.path("pid").into_os_string()),
        ] {
            command.env(name, value);
        }
        Ok(command)
    }

    /// The Erlang VM's pid, as the node wrote it, if that process is this node.
    fn pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.path("pid")).ok()?;
        let pid = text.trim().parse().ok()?;
        identity::is_ours(pid, &self.folder).then_some(pid)
    }

    pub async fn is_running(&self) -> bool {
        self.pid().is_some() && self.answers().await
    }

    pub async fn start(&mut self) -> Result<()> {
        if self.pid().is_none() {
            let _ = std::fs::remove_file(self.path("pid"));
            let log = self.path("start.log");
            let output = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
            let mut child = self
                .command()?
                .stdout(output.try_clone()?)
                .stderr(output)
                .spawn()
                .context("starting rabbitmq-server")?;
            clock::until("the start of RabbitMQ", START_PATIENCE, || {
                let ended = child.try_wait();
                async {
                    if let Some(status) = ended? {
                        bail!("rabbitmq-server ended with {status}, see {}", log.display());
                    }
                    Ok(self.answers().await.then_some(()))
                }
            })
            .await?;
        }
        clock::until("an answer of RabbitMQ", START_PATIENCE, || async {
            Ok((self.pid().is_some() && self.answers().await).then_some(()))
        })
        .await
    }

    /// SIGTERM lets the node close its queues' logs in order.
    pub async fn stop(&self) -> Result<()> {
        let steps = [(Signal::SIGTERM, Duration::from_secs(45)), (Signal::SIGKILL, Duration::from_secs(10))];
        self.end(&steps).await?;
        self.end_mapper().await;
        Ok(())
    }

    pub async fn kill(&self) -> Result<()> {
        self.end(&[(Signal::SIGKILL, Duration::from_secs(10))]).await?;
        self.end_mapper().await;
        Ok(())
    }

    /// Raises the alarm of a full disk, or ends it: publishers are blocked, consumers go on.
    pub async fn block(&self, blocked: bool) -> Result<()> {
        let control = self.server.with_file_name("rabbitmqctl");
        // No disk has as much free; the other is what `configure` sets.
        let limit = if blocked { "100000GB" } else { "200MB" };
        let mut command = Command::from(self.command_of(&control)?);
        let output = command.args(["set_disk_free_limit", limit]).output().await.context("rabbitmqctl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("rabbitmqctl: {}", said.trim());
        }
        Ok(())
    }

    async fn end(&self, steps: &[(Signal, Duration)]) -> Result<()> {
        match self.pid() {
            Some(pid) => identity::end(pid, &self.folder, steps).await.context("stopping RabbitMQ"),
            None => Ok(()),
        }
    }

    /// The port mapper that the VM started outlives it; ours serves nobody else. It refuses while it
    /// still counts the node as registered, which ends moments after the node. A mapper that stays
    /// is an idle process of a few hundred kilobytes, so this is no error.
    async fn end_mapper(&self) {
        let installed = find::children(Path::new("/usr/lib/erlang"), "bin/epmd");
        let program =
            find::program("epmd", &[]).or_else(|| installed.into_iter().find(|path| path.is_file()));
        let Some(program) = program else { return };
        let port = self.mapper_port.to_string();
        let _ = clock::until("the end of the port mapper", Duration::from_secs(3), || async {
            let _ = std::process::Command::new(&program)
                .args(["-port", &port, "-kill"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            Ok(ports::is_free(self.mapper_port).then_some(()))
        })
        .await;
    }

    /// Says hello in AMQP and takes any `Connection.Start` for an answer. The node opens its
    /// listeners as the last step of its boot.
    async fn answers(&self) -> bool {
        speaks_amqp(self.port).await
    }
}

pub async fn speaks_amqp(port: u16) -> bool {
    let talk = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
        let mut frame = [0_u8; 11];
        stream.read_exact(&mut frame).await.ok()?;
        // Type 1 (method), channel 0, four bytes of length, class 10 method 10.
        (frame[0] == 1 && frame[7..] == [0, 10, 0, 10]).then_some(())
    };
    tokio::time::timeout(Duration::from_secs(2), talk).await.is_ok_and(|answer| answer.is_some())
}
