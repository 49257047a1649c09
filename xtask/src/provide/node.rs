//! A private node of a service: its state on disk, and starting and stopping it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::docker::Container;
use super::postgres::{self, Cluster};
use super::rabbitmq::{self, Broker};
use crate::workspace::Workspace;

/// Everything needed to find, start and stop it from another process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Node {
    Postgres(Cluster),
    Rabbitmq(Broker),
    Container(Container),
}

impl Node {
    pub fn load(file: &Path) -> Result<Option<Self>> {
        match std::fs::read(file) {
            Ok(bytes) => {
                let node = serde_json::from_slice(&bytes)
                    .with_context(|| format!("{} is damaged; delete it", file.display()))?;
                Ok(Some(node))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
        }
    }

    pub fn save(&self, file: &Path) -> Result<()> {
        let partial = file.with_extension("json.new");
        std::fs::write(&partial, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&partial, file).with_context(|| format!("writing {}", file.display()))
    }

    pub fn service(&self) -> &'static str {
        match self {
            Self::Postgres(_) => postgres::SERVICE,
            Self::Rabbitmq(_) => rabbitmq::SERVICE,
            Self::Container(container) => container.service(),
        }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Postgres(node) => node.url(),
            Self::Rabbitmq(node) => node.url(),
            Self::Container(node) => node.url(),
        }
    }

    /// Running and answering.
    pub async fn is_running(&self) -> bool {
        match self {
            Self::Postgres(node) => node.is_running().await,
            Self::Rabbitmq(node) => node.is_running().await,
            Self::Container(node) => node.is_running().await,
        }
    }

    /// Starts it unless it runs; returns when it answers.
    pub async fn start(&mut self) -> Result<()> {
        match self {
            Self::Postgres(node) => node.start().await,
            Self::Rabbitmq(node) => node.start().await,
            Self::Container(node) => node.start().await,
        }
    }

    /// Stops it in order; returns when its process is gone. Nothing to stop is no error.
    pub async fn stop(&mut self) -> Result<()> {
        match self {
            Self::Postgres(node) => node.stop().await,
            Self::Rabbitmq(node) => node.stop().await,
            Self::Container(node) => node.stop().await,
        }
    }

    /// SIGKILL, as a crash would; returns when its process is gone.
    pub async fn kill(&mut self) -> Result<()> {
        match self {
            Self::Postgres(node) => node.kill().await,
            Self::Rabbitmq(node) => node.kill().await,
            Self::Container(node) => node.kill().await,
        }
    }

    /// Makes a broker refuse what is published, as one does that runs out of disk, or lets it go on.
    pub async fn block(&self, blocked: bool) -> Result<()> {
        match self {
            Self::Rabbitmq(node) => node.block(blocked).await,
            Self::Postgres(_) | Self::Container(_) => bail!("only a private broker can be blocked"),
        }
    }

    /// Removes its data.
    pub fn delete(&self) -> Result<()> {
        let folder = match self {
            Self::Postgres(node) => &node.folder,
            Self::Rabbitmq(node) => &node.folder,
            Self::Container(node) => return node.delete(),
        };
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("deleting {}", folder.display()))
            }
            _ => {
                // Its parent is the scope of an ephemeral node; not empty while another has data there.
                let _ = folder.parent().map(std::fs::remove_dir);
                Ok(())
            }
        }
    }

    pub fn describe(&self, workspace: &Workspace, found_running: bool) -> String {
        let verb = if found_running { "found running" } else { "started" };
        match self {
            Self::Postgres(node) => format!("{verb}: {}", node.describe(workspace)),
            Self::Rabbitmq(node) => format!("{verb}: {}", node.describe(workspace)),
            Self::Container(node) => format!("{verb}: {}", node.describe()),
        }
    }
}

#[derive(clap::Args)]
pub struct Args {
    /// The node's state file
    #[arg(long)]
    state: PathBuf,
    action: Action,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Action {
    Start,
    Stop,
    Kill,
    /// Let the broker believe that it has no disk left
    Block,
    /// Let it find its disk again
    Unblock,
}

/// `xtask node --state FILE stop|start|kill|block|unblock`.
pub async fn run(args: Args) -> Result<ExitCode> {
    let mut node =
        Node::load(&args.state)?.with_context(|| format!("{} does not exist", args.state.display()))?;
    match args.action {
        Action::Start => node.start().await?,
        Action::Stop => node.stop().await?,
        Action::Kill => node.kill().await?,
        Action::Block => node.block(true).await?,
        Action::Unblock => node.block(false).await?,
    }
    node.save(&args.state)?;
    Ok(ExitCode::SUCCESS)
}
