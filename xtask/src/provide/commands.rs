//! `cargo xtask up`, `down` and `status`.

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use super::node::Node;
use super::{Lifetime, Options, Provided};
use super::{no_broker_line, postgres, rabbitmq, sweep};
use crate::workspace::Workspace;

/// Both services, provided at once, and the broker's stand-in.
pub struct Services {
    pub postgres: Provided,
    /// Or why there is none.
    pub rabbitmq: Result<Provided, String>,
}

impl Services {
    pub async fn provide(options: &Options) -> Result<Self> {
        let _turn = turn(&options.workspace)?;
        sweep::stale(&options.workspace).await?;
        let (postgres, rabbitmq) = tokio::join!(super::postgres(options), super::rabbitmq(options));
        match (postgres, rabbitmq) {
            (Ok(postgres), Ok(rabbitmq)) => Ok(Self { postgres, rabbitmq }),
            (Err(error), rabbitmq) => {
                if let Ok(Ok(rabbitmq)) = rabbitmq {
                    rabbitmq.stop().await?;
                }
                Err(error)
            }
            (Ok(postgres), Err(error)) => {
                postgres.stop().await?;
                Err(error)
            }
        }
    }

    /// One line per service.
    pub fn lines(&self) -> [String; 2] {
        let broker = match &self.rabbitmq {
            Ok(provided) => provided.line(),
            Err(reason) => no_broker_line(reason),
        };
        [self.postgres.line(), broker]
    }

    pub fn print(&self) {
        for line in self.lines() {
            println!("{line}");
        }
    }

    pub async fn stop(self) -> Result<()> {
        let rabbitmq = match self.rabbitmq {
            Ok(provided) => provided.stop().await,
            Err(_) => Ok(()),
        };
        self.postgres.stop().await.and(rabbitmq)
    }

    pub fn keep(self) {
        self.postgres.keep();
        if let Ok(provided) = self.rabbitmq {
            provided.keep();
        }
    }
}

/// One provisioning at a time in a checkout: two would lay the same cluster.
fn turn(workspace: &Workspace) -> Result<Flock<File>> {
    let file = File::create(workspace.local()?.join("provide.lock"))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .context("waiting for another xtask of this checkout")
}

pub async fn up() -> Result<ExitCode> {
    let services = Services::provide(&Options::new(Lifetime::Kept)?).await?;
    services.print();
    println!("export DATABASE_URL='{}'", services.postgres.url);
    if let Ok(rabbitmq) = &services.rabbitmq {
        println!("export AMQP_URL='{}'", rabbitmq.url);
    }
    services.keep();
    Ok(ExitCode::SUCCESS)
}

pub async fn down() -> Result<ExitCode> {
    let workspace = Workspace::here()?;
    sweep::stale(&workspace).await?;
    for service in [rabbitmq::SERVICE, postgres::SERVICE] {
        let file = workspace.local()?.join(format!("{service}.json"));
        match Node::load(&file)? {
            Some(mut node) if node.is_running().await => {
                node.stop().await?;
                println!("{service:<9} stopped; its data stays");
            }
            Some(mut node) => {
                // Half alive (a process that does not answer) is stopped too.
                node.stop().await?;
                println!("{service:<9} was not running");
            }
            None => println!("{service:<9} never started here"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn status() -> Result<ExitCode> {
    let workspace = Workspace::here()?;
    for service in [postgres::SERVICE, rabbitmq::SERVICE] {
        let file = workspace.local()?.join(format!("{service}.json"));
        match Node::load(&file)? {
            Some(node) if node.is_running().await => {
                println!("{service:<9} {}", node.describe(&workspace, true));
                println!("{:<9} {}", "", node.url());
            }
            Some(_) => println!("{service:<9} not running; `cargo xtask up` starts it"),
            None => println!("{service:<9} never started here"),
        }
    }
    Ok(ExitCode::SUCCESS)
}
