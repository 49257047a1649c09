//! A private Postgres cluster from installed binaries.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::User;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{Options, account, find, identity};
use crate::workspace::Workspace;
use crate::{clock, ports, shim};

pub const SERVICE: &str = "postgres";

/// The oldest major version the migrations are written for.
const OLDEST: u32 = 15;
const SUPERUSER: &str = "waybill";
pub const DATABASE: &str = "waybill";
/// How long sessions of a killed server may take to notice.
const ORPHANS_PATIENCE: Duration = Duration::from_secs(20);
/// Crash recovery of up to `max_wal_size` has to fit.
const START_PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    pub folder: PathBuf,
    binaries: PathBuf,
    major: u32,
    user: Option<String>,
    port: u16,
    ephemeral: bool,
}

/// A folder with `postgres` and `initdb` of one version.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
    major: u32,
}

/// The newest usable installation, but before it the one that our data was made with.
pub fn find_binaries(state: &Path) -> Option<Binaries> {
    let mut folders = find::children(Path::new("/usr/lib/postgresql"), "bin");
    for prefix in ["/opt/homebrew/opt", "/usr/local/opt"] {
        folders.extend(find::children(Path::new(prefix), "bin"));
    }
    folders.extend(find::children(Path::new("/usr"), "bin").into_iter().filter(|folder| {
        folder.components().any(|part| part.as_os_str().to_string_lossy().starts_with("pgsql"))
    }));
    folders.extend(find::path_folders());
    let mut found: Vec<_> = folders.into_iter().filter_map(Binaries::in_folder).collect();
    found.sort_by_key(|binaries| binaries.major);
    let before = match super::Node::load(state) {
        Ok(Some(super::Node::Postgres(cluster))) => Some(cluster.major),
        _ => None,
    };
    let with_data = found.iter().find(|binaries| Some(binaries.major) == before);
    with_data.or(found.last()).cloned()
}

fn has_data(folder: &Path, major: u32) -> bool {
    folder.join(format!("{major}/PG_VERSION")).is_file()
}

impl Binaries {
    fn in_folder(folder: PathBuf) -> Option<Self> {
        if !folder.join("initdb").is_file() {
            return None;
        }
        let output = std::process::Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "postgres (PostgreSQL) 18beta1"
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_whitespace().nth(2)?;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let major = digits.parse().ok()?;
        (major >= OLDEST).then_some(Self { folder, major })
    }
}

impl Cluster {
    /// The cluster of this checkout (or of this process): laid if it does not exist, not started.
    pub async fn prepare(options: &Options, binaries: Binaries, state: &Path) -> Result<Self> {
        let user = account::service_user(&["postgres"])?;
        let folder = account::folder(options, SERVICE, user.as_ref())?;
        let before = match super::Node::load(state)? {
            Some(super::Node::Postgres(cluster)) => Some(cluster.port),
            _ => None,
        };
        let mut cluster = Self {
            folder,
            binaries: binaries.folder,
            major: binaries.major,
            user: user.as_ref().map(|user| user.name.clone()),
            port: before.unwrap_or(0),
            ephemeral: options.ephemeral(),
        };
        if !has_data(&cluster.folder, cluster.major) {
            cluster.lay(user.as_ref()).await.context("laying a Postgres cluster")?;
        }
        if cluster.pid().is_none() {
            cluster.port = ports::keep_or_free(before)?;
        }
        Ok(cluster)
    }

    pub fn url(&self) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    pub fn describe(&self, workspace: &Workspace) -> String {
        let kind = if self.ephemeral { "throw-away" } else { "private" };
        let place = workspace.shown(&self.data());
        format!("{kind} cluster of Postgres {} on 127.0.0.1:{}, data in {place}", self.major, self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.join(self.major.to_string())
    }

    fn rules(&self) -> shim::Rules {
        shim::Rules { die_with_parent: false, detach: true, user: self.user.clone() }
    }

    /// A command under the cluster's account with nothing of our environment but the path.
    fn command(&self, program: &str) -> Result<std::process::Command> {
        let mut command = shim::command(&self.rules(), &self.binaries.join(program))?;
        command.env_clear().current_dir("/").stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Ok(command)
    }

    /// `initdb` beside the final place, so that one cut short is not taken for a cluster.
    async fn lay(&self, user: Option<&User>) -> Result<()> {
        let partial = self.folder.join("laying");
        let mut complaint = String::new();
        // C.UTF-8 sorts by code point but knows letters beyond ASCII; not every system has it.
        for locale in ["C.UTF-8", "C"] {
            if partial.exists() {
                std::fs::remove_dir_all(&partial)?;
            }
            account::own_folder(&partial, user)?;
            let mut command = Command::from(self.command("initdb")?);
            command.arg("-D").arg(&partial).args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]);
            command.arg(format!("--locale={locale}"));
            if self.ephemeral {
                command.arg("--no-sync");
            }
            let output = command.output().await.context("running initdb")?;
            if output.status.success() {
                return std::fs::rename(&partial, self.data()).context("moving the new cluster");
            }
            complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        bail!("initdb failed: {}", complaint.trim())
    }

    /// The live server's pid, if its pid file names a process that serves this very data.
    fn pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok()?;
        identity::is_ours(pid, &self.data()).then_some(pid)
    }

    pub async fn is_running(&self) -> bool {
        self.pid().is_some() && self.answers().await.is_ok()
    }

    pub async fn start(&mut self) -> Result<()> {
        if self.pid().is_none() {
            // Left by a power cut. The server would take it for a live one if its pid is in use again.
            let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
            self.configure().await?;
            let log = self.folder.join("postgres.log");
            let output = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
            let mut child = self
                .command("postgres")?
                .arg("-D")
                .arg(self.data())
                .stdout(output.try_clone()?)
                .stderr(output)
                .spawn()
                .context("starting postgres")?;
            clock::until("the start of Postgres", START_PATIENCE, || {
                let ended = child.try_wait();
                async {
                    if let Some(status) = ended? {
                        bail!("postgres ended with {status}, see {}", log.display());
                    }
                    Ok(self.answers().await.ok())
                }
            })
            .await?;
        }
        clock::until("an answer of Postgres", START_PATIENCE, || async { Ok(self.answers().await.ok()) })
            .await?;
        self.create_database().await
    }

    /// SIGINT is Postgres' fast shutdown: roll back, write a checkpoint, end.
    pub async fn stop(&self) -> Result<()> {
        let steps = [
            (Signal::SIGINT, Duration::from_secs(30)),
            (Signal::SIGQUIT, Duration::from_secs(10)),
            (Signal::SIGKILL, Duration::from_secs(10)),
        ];
        self.end(&steps).await
    }

    pub async fn kill(&self) -> Result<()> {
        self.end(&[(Signal::SIGKILL, Duration::from_secs(10))]).await
    }

    async fn end(&self, steps: &[(Signal, Duration)]) -> Result<()> {
        if let Some(pid) = self.pid() {
            identity::end(pid, &self.data(), steps).await.context("stopping Postgres")?;
        }
        // A killed server leaves sessions that notice it a moment later. One that still writes must not meet the next server, nor
        // one that has not let go of the port yet.
        let data = self.data().canonicalize().unwrap_or_else(|_| self.data());
        clock::until("the end of Postgres' sessions", ORPHANS_PATIENCE, || async {
            Ok((!identity::works_in(&data)).then_some(()))
        })
        .await
    }

    /// The whole configuration, written anew at each start: nothing of it is anyone's to edit.
    async fn configure(&self) -> Result<()> {
        let compression = if self.accepts("wal_compression", "lz4").await? { "lz4" } else { "on" };
        let mut text = format!(
            "# Written by `cargo xtask` at each start.\n\
             listen_addresses = '127.0.0.1'\n\
             port = {}\n\
             unix_socket_directories = ''\n\
             max_connections = 300\n\
             shared_buffers = 256MB\n\
             max_wal_size = 2GB\n\
             wal_compression = {compression}\n\
             checkpoint_completion_target = 0.9\n\
             log_line_prefix = '%m [%p] %a '\n\
             log_timezone = 'UTC'\n\
             timezone = 'UTC'\n\
             lc_messages = 'C'\n\
             default_text_search_config = 'pg_catalog.english'\n",
            self.port
        );
        // Tests crash processes, not the machine, so flushing would only cost time. A commit is still written before it is
        // answered: without that the last of them, up to 0.6 s, would be lost with the server's process.
        let durable = if self.ephemeral { "off" } else { "on" };
        text += &["fsync", "full_page_writes"].map(|setting| format!("{setting} = {durable}\n")).concat();
        text += "synchronous_commit = on\n";
        let user = self.user.as_deref().map(User::from_name).transpose()?.flatten();
        account::write_for(user.as_ref(), &self.data().join("postgresql.conf"), &text, false)
    }

    /// Whether this build of Postgres knows the value: lz4 is a compile-time choice.
    async fn accepts(&self, setting: &str, value: &str) -> Result<bool> {
        let mut command = Command::from(self.command("postgres")?);
        command.arg("-C").arg(setting).arg("-c").arg(format!("{setting}={value}"));
        command.arg("-D").arg(self.data()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status().await.context("asking postgres")?.success())
    }

    async fn answers(&self) -> Result<tokio_postgres::Client> {
        connect(self.port, "postgres").await
    }

    async fn create_database(&self) -> Result<()> {
        create(&self.answers().await?, DATABASE).await
    }
}

/// Makes the database `waybill_<name>` on a private server and returns its URL.
pub async fn database(server: &str, name: &str, fresh: bool) -> Result<String> {
    let mut url = url::Url::parse(server).context("the server's URL")?;
    let client = connect(url.port().context("the server's port")?, DATABASE).await?;
    let name = format!("{DATABASE}_{name}");
    if fresh {
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
    }
    create(&client, &name).await?;
    url.set_path(&name);
    Ok(url.to_string())
}

async fn create(client: &tokio_postgres::Client, name: &str) -> Result<()> {
    let known = client.query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await?;
    if known.is_empty() {
        client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
    }
    Ok(())
}

/// A session as superuser on a private node; its connection ends with the client.
pub async fn connect(port: u16, database: &str) -> Result<tokio_postgres::Client> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(SUPERUSER).dbname(database);
    config.connect_timeout(Duration::from_secs(2));
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.simple_query("SELECT 1").await?;
    Ok(client)
}
