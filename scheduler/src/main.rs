//! `waybill-scheduler`.

use clap::Parser;
use secrecy::ExposeSecret as _;
use tracing::info;
use waybill_platform::{Config, install_crypto, ops, service, shutdown, telemetry, vault::Vault};

/// Fires schedules and publishes the gauges of the service. Any number may run side by side. Configured by WAYBILL_* variables.
#[derive(Debug, Parser)]
#[command(name = "waybill-scheduler", version)]
struct Args {}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Args::parse();
    install_crypto();
    let config = Config::load()?;
    telemetry::init(&config.log, &config.telemetry, "waybill-scheduler");
    config.log_warnings();
    // A schedule is made for a kind whose arguments are in the open, and fires by the kind's definition of today, which may
    // seal them.
    waybill_jobs::seal::install(Vault::new(&config.secrets)?.into_functions());
    let shutdown = shutdown::token();
    let pool = waybill_schema::db::connect(
        &waybill_schema::db::with_statement_timeout(
            config.database.url.expose_secret(),
            config.database.statement_timeout,
        ),
        config.database.pool_max.min(4),
        config.database.connect_timeout,
    )
    .await?;
    let readiness = ops::Readiness::new();
    readiness.add("postgres", {
        let pool = pool.clone();
        move || {
            let pool = pool.clone();
            async move { waybill_schema::db::ping(&pool).await }
        }
    });
    let address = ops::serve(config.scheduler.ops_listen, readiness, shutdown.clone()).await?;
    service::announce(address);
    waybill_scheduler::run::run(pool, config.scheduler.tick, config.housekeeping.stuck_after, shutdown).await;
    info!("stopped");
    telemetry::flush();
    Ok(())
}
