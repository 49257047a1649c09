//! `cargo xtask bench jobs`: our job platform beside others', on the services alone.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::provide::commands::Services;
use crate::provide::{Lifetime, Options};
use crate::workspace::Workspace;

/// The platforms to compare with are a workspace of their own: see `bench/baselines`.
const BASELINES: &str = "bench/baselines/Cargo.toml";

/// Provides, builds, measures; the benchmark's own exit code.
pub async fn run(workspace: &Workspace, arguments: &[String], keep: bool) -> Result<u8> {
    // Kept services are durable ones: they flush on commit, as a live system does.
    let services = Services::provide(&Options::new(Lifetime::Kept)?).await?;
    for line in services.lines() {
        eprintln!("{line}");
    }
    let outcome = measure(workspace, &services, arguments).await;
    if keep {
        services.keep();
    } else {
        services.stop().await?;
    }
    outcome
}

async fn measure(workspace: &Workspace, services: &Services, arguments: &[String]) -> Result<u8> {
    let mut build = cargo::command(workspace);
    build.args(["build", "--release", "--package", "waybill-bench"]).kill_on_drop(true);
    if !build.status().await.context("starting cargo build")?.success() {
        bail!("the build failed");
    }
    let alone = arguments.iter().any(|argument| argument == "--only-ours");
    let baselines = if alone { None } else { baselines(workspace).await };
    let mut command = tokio::process::Command::new(workspace.binaries("release").join("waybill-bench"));
    command.args(arguments).env("WAYBILL_BENCH_DATABASE_URL", &services.postgres.url);
    if let Ok(broker) = &services.rabbitmq {
        command.env("WAYBILL_BENCH_AMQP_URL", &broker.url);
    }
    match baselines {
        Some(folder) => command.env("WAYBILL_BENCH_BASELINES", folder),
        None => command.env_remove("WAYBILL_BENCH_BASELINES"),
    };
    let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await;
    let code = status.context("starting the benchmark")?.code().unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}

/// Builds the platforms to compare with; `None`, and why, where they cannot be had.
async fn baselines(workspace: &Workspace) -> Option<PathBuf> {
    let target = workspace.binaries("baselines");
    let mut build = cargo::command(workspace);
    build.args(["build", "--release", "--locked", "--manifest-path", BASELINES, "--target-dir"]).arg(&target);
    match build.kill_on_drop(true).status().await {
        Ok(status) if status.success() => Some(target.join("release")),
        _ => {
            eprintln!("the baselines cannot be built here; ours are measured alone");
            None
        }
    }
}
