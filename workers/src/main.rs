//! `waybill-worker`.

mod start;

use std::time::Duration;

use clap::Parser;
use waybill_platform::{Config, install_crypto, shutdown, telemetry};

/// Runs jobs and event pipelines. Any number may run, here or on other hosts. Configured by WAYBILL_* variables.
#[derive(Debug, Parser)]
#[command(name = "waybill-worker", version)]
struct Args {
    /// Only these queues, comma separated; the configuration's concurrency holds.
    #[arg(long, value_delimiter = ',')]
    queues: Option<Vec<String>>,
    /// Only these pipelines, comma separated; an empty text for none.
    #[arg(long, value_delimiter = ',')]
    pipelines: Option<Vec<String>>,
    /// What this process is called in the list of workers.
    #[arg(long, default_value = "waybill-worker")]
    name: String,
}

/// How long threads of handlers that never yield are waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let ended = runtime.block_on(work());
    // A runtime that is only dropped waits for them as long as they like.
    runtime.shutdown_timeout(LAST_WORDS);
    ended
}

async fn work() -> anyhow::Result<()> {
    let args = Args::parse();
    install_crypto();
    let mut config = Config::load()?;
    telemetry::init(&config.log, &config.telemetry, "waybill-worker");
    config.log_warnings();
    if let Some(pipelines) = args.pipelines {
        config.worker.pipelines = pipelines.into_iter().filter(|name| !name.is_empty()).collect();
    }
    let ended = start::run(config, args.queues.as_deref(), args.name, shutdown::token()).await;
    telemetry::flush();
    ended
}
