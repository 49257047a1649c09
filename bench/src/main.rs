//! Benchmarks against a running system, started by `cargo xtask bench`. Each prints one JSON line on standard output.

mod api;
mod orders;
mod percentiles;
mod processes;

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
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    waybill_platform::install_crypto();
    match Args::parse().benchmark {
        Benchmark::Orders(args) => orders::run(args).await,
    }
}
