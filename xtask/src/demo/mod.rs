//! `cargo xtask demo`: the whole system at work on real sales, and every penny checked.

mod admin;
mod catalogue;
mod checks;
mod countries;
mod customers;
mod faults;
mod listener;
mod mails;
mod order;
mod plan;
mod report;
mod shopper;
mod shopping;
mod signature;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::retail::Dataset;
use crate::system::{self, Plan, Profile, System};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Args {
    /// End when the checks are done, with exit code 0 only if every one held
    #[arg(long)]
    once: bool,
    /// Sales to replay, .csv or .csv.gz of the "Online Retail" shape; else the sample in xtask/data
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many shoppers buy at a time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    shoppers: u16,
    /// Leave Postgres and `RabbitMQ` running at the end
    #[arg(long)]
    keep: bool,
    /// Begin with an empty database
    #[arg(long)]
    fresh: bool,
    /// Run unoptimised binaries, which are quicker to build
    #[arg(long)]
    debug: bool,
}

pub async fn run(args: Args) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let workspace = Workspace::here()?;
    let file =
        args.data.clone().unwrap_or_else(|| workspace.root().join("xtask/data/online-retail-sample.csv"));
    let data = Dataset::read(&file)?;
    report::sales(&workspace.shown(&file), &data);

    let profile = if args.debug { Profile::Debug } else { Profile::Release };
    let services = system::provide_and_build(&workspace, profile).await?;
    services.print();
    let plan = Plan { profile, workers: 2, name: "demo", fresh: args.fresh, settings: Vec::new() };
    let mut system = tokio::select! {
        system = System::start(&workspace, services, plan) => system?,
        _ = interrupt.recv() => return Ok(ExitCode::from(130)),
        _ = terminate.recv() => return Ok(ExitCode::from(143)),
    };

    let outcome = tokio::select! {
        outcome = steps::run(&workspace, &mut system, &data, usize::from(args.shoppers)) => outcome,
        _ = interrupt.recv() => Ok(steps::Outcome::Interrupted),
        _ = terminate.recv() => Ok(steps::Outcome::Interrupted),
    };
    let finished = matches!(outcome, Ok(steps::Outcome::Held(_)));
    if finished && !args.once {
        report::addresses(&workspace, &system);
        // Whatever arrives first: the wish to end, or a process that ended by itself.
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    let ended = system.ended();
    let stubborn = system.stop(args.keep).await.context("taking the system down")?;
    let held = match outcome? {
        steps::Outcome::Held(held) => held,
        steps::Outcome::Interrupted => return Ok(ExitCode::from(130)),
    };
    ensure!(ended.is_empty(), "ended by themselves: {}", ended.join(", "));
    ensure!(stubborn.is_empty(), "did not end when asked to: {}", stubborn.join(", "));
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
