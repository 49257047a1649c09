//! The commands behind `cargo xtask`: provide what Waybill needs, run its tests, show it at work.

mod bench;
mod cargo;
mod check_deploy;
mod check_tests;
mod client;
mod clock;
mod demo;
mod faults;
mod ports;
mod process;
mod provide;
mod retail;
mod shim;
mod system;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs, tests and shows Waybill", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start Postgres and `RabbitMQ` for this checkout and leave them running
    Up,
    /// Stop what `up` started for this checkout; the data stays
    Down,
    /// Say what is running for this checkout, and where
    Status,
    /// Provide the services and run every test; arguments after `--` go to the test runner
    Test(check_tests::Args),
    /// Run the system under random load and random faults, and look whether anything was lost or done twice
    Soak(faults::SoakArgs),
    /// Check docker-compose.yml and the Dockerfile against the workspace, without a container engine
    CheckDeploy,
    /// Run the whole system on real sales and check every penny
    Demo(demo::Args),
    /// Run a benchmark against the whole system
    Bench(bench::Args),
    /// Stop, start or kill a private service by its state file (used by fault tests)
    #[command(hide = true)]
    Node(provide::node::Args),
    /// Start a throw-away service for one test of a run
    #[command(hide = true)]
    Scratch(provide::scratch::Args),
    /// Become another program under the process rules of a supervised child
    #[command(hide = true)]
    Shim(shim::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The shim must replace this very process image, before any thread exists.
    if let Command::Shim(args) = cli.command {
        return fail(&shim::run(&args));
    }
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

#[tokio::main]
async fn run(command: Command) -> Result<ExitCode> {
    process::install_crypto();
    match command {
        Command::Up => provide::commands::up().await,
        Command::Down => provide::commands::down().await,
        Command::Status => provide::commands::status().await,
        Command::Test(args) => check_tests::run(args).await,
        Command::Soak(args) => faults::soak(args).await,
        Command::CheckDeploy => check_deploy::run(),
        Command::Demo(args) => demo::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Node(args) => provide::node::run(args).await,
        Command::Scratch(args) => provide::scratch::run(args).await,
        Command::Shim(args) => Err(shim::run(&args)),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("xtask: {error:#}");
    ExitCode::FAILURE
}
