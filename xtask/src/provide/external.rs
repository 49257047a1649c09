//! Services whose address came from the environment.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use super::{Guard, Provided, postgres, rabbitmq};

const PATIENCE: Duration = Duration::from_secs(5);

pub async fn at_database_url(url: &str) -> Result<Provided> {
    let place = reach(url, 5432).await.context("DATABASE_URL is set but does not answer")?;
    Ok(Provided {
        service: postgres::SERVICE,
        url: url.to_owned(),
        how: format!("DATABASE_URL, at {place}"),
        control: None,
        guard: Guard::nothing(),
    })
}

pub async fn at_amqp_url(url: &str) -> Result<Provided> {
    let place = reach(url, 5672).await.context("AMQP_URL is set but does not answer")?;
    Ok(Provided {
        service: rabbitmq::SERVICE,
        url: url.to_owned(),
        how: format!("AMQP_URL, at {place}"),
        control: None,
        guard: Guard::nothing(),
    })
}

/// Connects, and returns the address without user or password.
async fn reach(url: &str, default_port: u16) -> Result<String> {
    let url = url::Url::parse(url).context("not a URL")?;
    let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
    let place = format!("{host}:{}", url.port().unwrap_or(default_port));
    tokio::time::timeout(PATIENCE, TcpStream::connect(&place))
        .await
        .with_context(|| format!("{place} did not answer within {} s", PATIENCE.as_secs()))?
        .with_context(|| format!("connecting to {place}"))?;
    Ok(place)
}
