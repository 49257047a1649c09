//! Getting the services that Waybill stands on.
//!
//! For each service, in this order: the address in the environment (`DATABASE_URL`, `AMQP_URL`);
//! installed binaries, run as a private node of this checkout on free loopback ports; the system's
//! package manager, then the same; Docker. `AMQP_URL=none` asks for no broker at all.
//!
//! A private node keeps its data under `.local/`, or, where the account that must run it cannot
//! reach the checkout, under `/var/tmp/waybill-<tag>/` with a pointer in `.local/`. Its state file
//! (`.local/postgres.json`, `.local/rabbitmq.json`) names the process; a process is only ever
//! signalled after its command line has shown that it serves this checkout's data.
//!
//! # For fault tests
//!
//! [`Provided::control`] is the start of a shell command; with `stop`, `start` or `kill` appended it
//! stops the node in order, starts it again on the same port, or kills it with SIGKILL, and returns
//! when that is done; `block` and `unblock` raise and end a broker's alarm of a full disk. `cargo xtask test` passes it as `WAYBILL_TEST_PG_CTL` and
//! `WAYBILL_TEST_MQ_CTL`; the variables are absent when the service is not ours to stop.
//!
//! A test that would disturb others gets nodes of its own from [`scratch`]: `WAYBILL_TEST_SCRATCH`
//! with `postgres` or `rabbitmq` appended starts one and prints `{"url":…,"control":…}`. It is taken
//! down and deleted at the end of the run, by whichever way the test ends.

mod account;
mod apt;
pub mod browser;
pub mod clock;
pub mod commands;
mod docker;
mod external;
mod find;
mod identity;
pub mod node;
mod postgres;
mod rabbitmq;
pub mod scratch;
mod sweep;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::shim;
use crate::workspace::Workspace;
use node::Node;

/// How long what is provided should live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// One node per checkout; its data stays.
    Kept,
    /// A node for one run; data deleted at its end, and not flushed to disk on commit.
    Ephemeral,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub workspace: Workspace,
    pub lifetime: Lifetime,
    /// The process whose run an ephemeral node is for.
    owner: u32,
    /// Tells several ephemeral nodes of one run apart.
    instance: Option<u32>,
}

impl Options {
    pub fn new(lifetime: Lifetime) -> Result<Self> {
        Ok(Self { workspace: Workspace::here()?, lifetime, owner: std::process::id(), instance: None })
    }

    fn ephemeral(&self) -> bool {
        self.lifetime == Lifetime::Ephemeral
    }

    /// Where the state file of `service` stands.
    fn state_file(&self, service: &str) -> Result<PathBuf> {
        let folder = match self.lifetime {
            Lifetime::Kept => self.workspace.local()?,
            Lifetime::Ephemeral => self.workspace.local()?.join(self.scope()),
        };
        std::fs::create_dir_all(&folder)?;
        Ok(folder.join(format!("{}.json", self.node_name(service))))
    }

    /// The folder of one run's nodes.
    fn scope(&self) -> String {
        format!("{}{}", sweep::PREFIX, self.owner)
    }

    fn node_name(&self, service: &str) -> String {
        match self.instance {
            Some(instance) => format!("{service}-{instance}"),
            None => service.to_owned(),
        }
    }

    /// What no other node on this machine is called.
    fn unique_name(&self, service: &str) -> String {
        let name = format!("waybill-{}-{}", self.workspace.tag(), self.node_name(service));
        if self.ephemeral() { format!("{name}-{}", self.owner) } else { name }
    }
}

/// A service that answers.
#[derive(Debug)]
pub struct Provided {
    pub service: &'static str,
    pub url: String,
    /// One line for people: what it is and where.
    pub how: String,
    /// The command prefix that controls the node, when it is ours.
    pub control: Option<String>,
    guard: Guard,
}

impl Provided {
    /// Takes the service down if this process brought it up; deletes what was ephemeral.
    pub async fn stop(self) -> Result<()> {
        self.guard.stop().await
    }

    /// Leaves the service running when this process ends.
    pub fn keep(mut self) {
        self.guard.node = None;
    }

    /// The URL of a database of this name on a private server, made if need be (made anew with
    /// `fresh`). A server that somebody else gave us is used as given, and never emptied.
    pub async fn database(&self, name: &str, fresh: bool) -> Result<String> {
        if self.control.is_none() {
            return Ok(self.url.clone());
        }
        postgres::database(&self.url, name, fresh).await
    }

    pub fn line(&self) -> String {
        format!("{:<9} {}", self.service, self.how)
    }
}

/// What this process has to take down at its end.
#[derive(Debug)]
struct Guard {
    node: Option<(Node, PathBuf)>,
    delete: bool,
}

impl Guard {
    const fn nothing() -> Self {
        Self { node: None, delete: false }
    }

    async fn stop(mut self) -> Result<()> {
        let Some((_, file)) = self.node.take() else { return Ok(()) };
        // The file, not the memory: a fault test may have restarted the node under another pid.
        let mut node = Node::load(&file)?.context("the node's state file is gone")?;
        if self.delete {
            sweep::discard(node, &file).await?;
        } else {
            node.stop().await?;
            node.save(&file)?;
        }
        Ok(())
    }
}

/// Postgres, or an error that says everything that was tried.
pub async fn postgres(options: &Options) -> Result<Provided> {
    match variable("DATABASE_URL") {
        Some(url) => external::at_database_url(&url).await,
        None => private_postgres(options).await,
    }
}

async fn private_postgres(options: &Options) -> Result<Provided> {
    let file = options.state_file(postgres::SERVICE)?;
    let mut tried = Vec::new();
    if let Some(node) = running_container(&file)? {
        return start(options, node, file).await;
    }
    let mut binaries = postgres::find_binaries(&file);
    if binaries.is_none() {
        tried.push("not installed".to_owned());
        match apt::install(&options.workspace, &["postgresql", "postgresql-contrib"]).await {
            Ok(()) => binaries = postgres::find_binaries(&file),
            Err(error) => tried.push(format!("{error:#}")),
        }
    }
    if let Some(binaries) = binaries {
        let node = postgres::Cluster::prepare(options, binaries, &file).await?;
        return start(options, Node::Postgres(node), file).await;
    }
    match docker::postgres_container(options).await {
        Ok(node) => start(options, Node::Container(node), file).await,
        Err(error) => {
            tried.push(format!("{error:#}"));
            anyhow::bail!(
                "Postgres could not be provided ({}); set DATABASE_URL to one that runs",
                tried.join("; ")
            )
        }
    }
}

/// `RabbitMQ`, or the reason why there is none: Waybill works without it.
pub async fn rabbitmq(options: &Options) -> Result<Result<Provided, String>> {
    match variable("AMQP_URL") {
        Some(url) if url == "none" => Ok(Err("AMQP_URL=none".to_owned())),
        Some(url) => external::at_amqp_url(&url).await.map(Ok),
        None => private_rabbitmq(options).await,
    }
}

async fn private_rabbitmq(options: &Options) -> Result<Result<Provided, String>> {
    let file = options.state_file(rabbitmq::SERVICE)?;
    let mut tried = Vec::new();
    if let Some(node) = running_container(&file)? {
        return start(options, node, file).await.map(Ok);
    }
    let mut server = rabbitmq::find_server();
    if server.is_none() {
        tried.push("not installed".to_owned());
        match apt::install(&options.workspace, &["rabbitmq-server"]).await {
            Ok(()) => server = rabbitmq::find_server(),
            Err(error) => tried.push(format!("{error:#}")),
        }
    }
    if let Some(server) = server {
        let started = match rabbitmq::Broker::prepare(options, server, &file) {
            Ok(node) => start(options, Node::Rabbitmq(node), file.clone()).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(provided) => return Ok(Ok(provided)),
            Err(error) => tried.push(format!("{error:#}")),
        }
    }
    match docker::rabbitmq_container(options).await {
        Ok(node) => match start(options, Node::Container(node), file).await {
            Ok(provided) => return Ok(Ok(provided)),
            Err(error) => tried.push(format!("{error:#}")),
        },
        Err(error) => tried.push(format!("{error:#}")),
    }
    Ok(Err(tried.join("; ")))
}

/// What stands in for a broker that could not be had.
pub fn no_broker_line(reason: &str) -> String {
    format!("{:<9} none ({reason}); events ride on Postgres", rabbitmq::SERVICE)
}

/// A container that an earlier run started goes before everything but the environment: it has the data.
fn running_container(file: &std::path::Path) -> Result<Option<Node>> {
    Ok(Node::load(file)?.filter(|node| matches!(node, Node::Container(_))))
}

async fn start(options: &Options, mut node: Node, file: PathBuf) -> Result<Provided> {
    let found_running = node.is_running().await;
    // Saved before the start too, so that a process that dies here leaves something to sweep up.
    node.save(&file)?;
    node.start().await?;
    node.save(&file)?;
    let how = node.describe(&options.workspace, found_running);
    let image = shim::own_path()?;
    let control = format!("'{}' node --state '{}'", image.display(), file.display());
    let (service, url) = (node.service(), node.url());
    // What another command left running is not this one's to stop.
    let guard = if found_running {
        Guard::nothing()
    } else {
        Guard { node: Some((node, file)), delete: options.ephemeral() }
    };
    Ok(Provided { service, url, how, control: Some(control), guard })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}
