//! `waybill-api`: serves the HTTP API.

use std::{io::Write, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};
use poem::Server;
use secrecy::ExposeSecret;
use waybill_api::{AppState, app, identity, listener::NoDelay, state};
use waybill_platform::{Config, config::Environment, service, shutdown, telemetry};

const NAME: &str = "waybill-api";

/// How long requests under way may go on after a stop.
const DRAIN: Duration = Duration::from_secs(20);

#[derive(Parser)]
#[command(name = NAME, version, about = "Serves the HTTP API of Waybill", long_about = None)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default).
    Serve,
    /// Bring the database's schema up to date, and end.
    Migrate,
    /// Print the OpenAPI document, and end. Needs no database.
    Openapi,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Arguments::parse().command.unwrap_or(Command::Serve);
    if let Command::Openapi = command {
        // A reader that has seen enough closes the pipe; that is no failure.
        return match writeln!(std::io::stdout(), "{}", app::openapi()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        };
    }
    waybill_platform::install_crypto();
    let config = Config::load()?;
    telemetry::init(&config.log, &config.telemetry, NAME);
    for warning in &config.warnings {
        tracing::warn!(warning, "configuration");
    }
    let ended = match command {
        Command::Migrate => migrate(&config).await,
        Command::Serve | Command::Openapi => serve(config).await,
    };
    telemetry::flush();
    ended
}

async fn migrate(config: &Config) -> anyhow::Result<()> {
    let applied = waybill_schema::db::migrate(config.database.url.expose_secret()).await?;
    tracing::info!(applied = applied.len(), newest = applied.last(), "the schema is up to date");
    Ok(())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown::token();
    // In production a deploy migrates once, before its replicas start.
    if config.environment == Environment::Development {
        migrate(&config).await?;
    }
    let database = &config.database;
    let url = state::database_url(database);
    let pool =
        waybill_schema::db::connect(url.expose_secret(), database.pool_max, database.connect_timeout).await?;
    let listen = config.api.listen;
    let state = AppState::new(config, pool)?;
    identity::bootstrap::admin(&state).await.context("the first administrator could not be made")?;

    let acceptor = NoDelay::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    service::announce(acceptor.address()?);
    let readiness = state.readiness.clone();
    let (order_hub, job_hub) = (state.order_hub.clone(), state.job_hub.clone());
    tokio::spawn(state.load.clone().watch(shutdown.clone()));
    let stop = async move {
        shutdown.cancelled().await;
        readiness.drain();
        // Streams would hold the drain up to its deadline; clients connect again, to another replica.
        order_hub.close();
        job_hub.close();
    };
    Server::new_with_acceptor(acceptor)
        .run_with_graceful_shutdown(app::build(state), stop, Some(DRAIN))
        .await
        .context("the server ended")
}
