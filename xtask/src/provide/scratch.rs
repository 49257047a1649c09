//! A throw-away service for one test.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{Lifetime, Options, sweep};
use crate::shim;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Args {
    /// The test run that it belongs to, by process; the run removes it at its end
    #[arg(long)]
    owner: u32,
    service: Service,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Service {
    Postgres,
    Rabbitmq,
}

/// Starts it and prints where it is and how to control it.
pub async fn run(args: Args) -> Result<ExitCode> {
    let options = Options {
        owner: args.owner,
        // Each call is a process of its own.
        instance: Some(std::process::id()),
        ..Options::new(Lifetime::Ephemeral)?
    };
    let provided = match args.service {
        Service::Postgres => super::private_postgres(&options).await?,
        Service::Rabbitmq => match super::private_rabbitmq(&options).await? {
            Ok(provided) => provided,
            Err(reason) => bail!("no RabbitMQ: {reason}"),
        },
    };
    println!("{}", serde_json::json!({ "url": provided.url, "control": provided.control }));
    provided.keep();
    Ok(ExitCode::SUCCESS)
}

/// The command that starts one for this process's run; the service's name is to be appended.
pub fn command() -> Result<String> {
    Ok(format!("'{}' scratch --owner {}", shim::own_path()?.display(), std::process::id()))
}

/// Takes down what the tests of this process's run have left.
pub async fn remove(workspace: &Workspace) -> Result<()> {
    sweep::run(workspace, std::process::id()).await
}
