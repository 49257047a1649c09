//! The sandbox payment gateway as a process of its own.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use waybill_sandbox::{Config, DEFAULT_API_KEY, DEFAULT_LISTEN, serve};

/// A payment gateway to develop and test against, with scriptable faults.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Address to listen on; port 0 takes a free one. The control endpoints need no key: keep it on loopback.
    #[arg(long, env = "WAYBILL_SANDBOX_LISTEN", default_value_t = DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// What clients send as `Authorization: Bearer`.
    #[arg(long, env = "WAYBILL_SANDBOX_API_KEY", hide_env_values = true, default_value = DEFAULT_API_KEY)]
    api_key: String,
    /// The URL that events go to by POST.
    #[arg(long, env = "WAYBILL_SANDBOX_WEBHOOK_URL", hide_env_values = true)]
    webhook_url: Option<String>,
    /// What events are signed with: `whsec_` and base64, or a plain text.
    #[arg(long, env = "WAYBILL_SANDBOX_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<String>,
    /// Tries per event.
    #[arg(long, env = "WAYBILL_SANDBOX_WEBHOOK_ATTEMPTS", default_value_t = Config::default().webhook_attempts)]
    webhook_attempts: u32,
    /// Deliveries at a time.
    #[arg(long, env = "WAYBILL_SANDBOX_WEBHOOK_CONCURRENCY", default_value_t = Config::default().webhook_concurrency)]
    webhook_concurrency: usize,
    /// Events that may wait.
    #[arg(long, env = "WAYBILL_SANDBOX_WEBHOOK_QUEUE", default_value_t = Config::default().webhook_queue)]
    webhook_queue: usize,
    /// File that remembers every operation over a restart.
    #[arg(long, env = "WAYBILL_SANDBOX_JOURNAL")]
    journal: Option<PathBuf>,
    /// Sync the journal to disk before answering.
    #[arg(long, env = "WAYBILL_SANDBOX_JOURNAL_FSYNC")]
    journal_fsync: bool,
    /// Seed of the dice for faults with a probability.
    #[arg(long, env = "WAYBILL_SANDBOX_FAULT_SEED")]
    fault_seed: Option<u64>,
}

impl From<Cli> for Config {
    fn from(cli: Cli) -> Self {
        // A variable that is set to nothing, as Compose files do, counts as not set.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            listen: cli.listen,
            api_key: cli.api_key,
            webhook_url: given(cli.webhook_url),
            webhook_secret: given(cli.webhook_secret),
            webhook_attempts: cli.webhook_attempts,
            webhook_concurrency: cli.webhook_concurrency,
            webhook_queue: cli.webhook_queue,
            journal: cli.journal.filter(|path| !path.as_os_str().is_empty()),
            journal_fsync: cli.journal_fsync,
            fault_seed: cli.fault_seed,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("WAYBILL_SANDBOX_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Logs go to stderr, so that stdout carries exactly one line: the address.
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();

    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let gateway = serve(cli.into()).await?;
    let line = serde_json::json!({ "event": "listening", "address": gateway.addr().to_string() });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("stdout")?;

    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    gateway.shutdown().await?;
    Ok(())
}
