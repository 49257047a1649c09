//! Benchmarks, started by `cargo xtask bench`. Each prints one JSON line on standard output.

mod api;
mod jobs;
mod orders;
mod percentiles;
mod processes;
mod program;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// Shoppers who place an order, wait until it is confirmed, and place the next.
    Orders(orders::Args),
    /// The job platform beside those of others.
    Jobs(jobs::Args),
    /// The job platform as `jobs` drives it.
    #[command(hide = true)]
    Platform {
        /// See `program.rs`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    waybill_platform::install_crypto();
    match Args::parse().benchmark {
        Benchmark::Orders(args) => orders::run(args).await,
        Benchmark::Jobs(args) => jobs::run(args).await,
        Benchmark::Platform { command } => program::run::<jobs::Ours>(&command).await,
    }
}
