//! `cargo xtask bench`: a benchmark of `bench/` against the whole system, fresh and in release.
//!
//! The benchmark finds in its environment
//!
//! | variable | what |
//! |---|---|
//! | `WAYBILL_BENCH_API_URL` | the API |
//! | `WAYBILL_BENCH_GATEWAY_URL`, `WAYBILL_BENCH_GATEWAY_KEY` | the sandbox gateway |
//! | `WAYBILL_BENCH_DATABASE_URL` | the system's database, its own for benchmarks |
//! | `WAYBILL_BENCH_AMQP_URL` | the broker; absent when there is none |
//! | `WAYBILL_BENCH_ADMIN_EMAIL`, `WAYBILL_BENCH_ADMIN_PASSWORD` | an administrator |
//! | `WAYBILL_BENCH_PIDS` | `api=12,gateway=13,scheduler=14,worker-1=15`, for /proc |
//!
//! `jobs` needs no system but the services alone, see [`jobs`]; it finds the database (an account that may create others) and
//! the broker, and in `WAYBILL_BENCH_BASELINES` the folder of the programs to compare with.
//!
//! Standard output is the benchmark's alone; what is provided is told on standard error.

mod jobs;

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::cargo;
use crate::system::{self, ADMIN_EMAIL, ADMIN_PASSWORD, Plan, Profile, System};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Args {
    /// Worker processes to start
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=32))]
    workers: u8,
    /// Leave Postgres and `RabbitMQ` running at the end
    #[arg(long)]
    keep: bool,
    /// The benchmark and its arguments, as in `orders --json`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    benchmark: Vec<String>,
}

pub async fn run(args: Args) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let workspace = Workspace::here()?;
    if args.benchmark.first().is_some_and(|name| name == "jobs") {
        let code = tokio::select! {
            code = jobs::run(&workspace, &args.benchmark, args.keep) => code?,
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
        };
        return Ok(ExitCode::from(code));
    }
    let services = system::provide_and_build(&workspace, Profile::Release).await?;
    for line in services.lines() {
        eprintln!("{line}");
    }
    // Built before anything is measured, and before anything else runs.
    let mut build = cargo::command(&workspace);
    let built = build.args(["build", "--release", "--package", "waybill-bench"]).status().await;
    let plan = Plan {
        profile: Profile::Release,
        workers: usize::from(args.workers),
        name: "bench",
        fresh: true,
        settings: Vec::new(),
    };
    let system = System::start(&workspace, services, plan).await?;

    let outcome = match built.context("building the benchmark") {
        Ok(built) if built.success() => {
            tokio::select! {
                code = measure(&workspace, &system, &args.benchmark) => code,
                _ = interrupt.recv() => Ok(130),
                _ = terminate.recv() => Ok(143),
            }
        }
        Ok(_) => Ok(1),
        Err(error) => Err(error),
    };
    system.stop(args.keep).await?;
    Ok(ExitCode::from(outcome?))
}

async fn measure(workspace: &Workspace, system: &System, benchmark: &[String]) -> Result<u8> {
    let mut command = cargo::command(workspace);
    command.args(["run", "--quiet", "--release", "--package", "waybill-bench", "--"]).args(benchmark);
    let pids: Vec<_> = system.pids().into_iter().map(|(name, pid)| format!("{name}={pid}")).collect();
    command
        .env("WAYBILL_BENCH_API_URL", &system.api_url)
        .env("WAYBILL_BENCH_GATEWAY_URL", &system.gateway_url)
        .env("WAYBILL_BENCH_GATEWAY_KEY", system::gateway_key())
        .env("WAYBILL_BENCH_DATABASE_URL", &system.database_url)
        .env("WAYBILL_BENCH_ADMIN_EMAIL", ADMIN_EMAIL)
        .env("WAYBILL_BENCH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .env("WAYBILL_BENCH_PIDS", pids.join(","));
    if let Ok(broker) = &system.services.rabbitmq {
        command.env("WAYBILL_BENCH_AMQP_URL", &broker.url);
    }
    let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await;
    let code = status.context("starting the benchmark")?.code().unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}
