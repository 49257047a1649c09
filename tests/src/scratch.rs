//! A Postgres or RabbitMQ node of a test's own, to stop and start as it likes.

use std::env;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// A node that nobody else uses; it is taken down at the end of the run.
pub struct Node {
    /// Where it is.
    pub url: String,
    control: String,
}

impl Node {
    /// Starts a node of `service`, `postgres` or `rabbitmq`.
    pub async fn start(service: &str) -> anyhow::Result<Self> {
        let scratch = env::var("WAYBILL_TEST_SCRATCH").context("run it through `cargo xtask test`")?;
        let output = Command::new("sh").arg("-c").arg(format!("{scratch} {service}")).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        Ok(Self {
            url: said["url"].as_str().context("no url")?.to_owned(),
            control: said["control"].as_str().context("no control")?.to_owned(),
        })
    }

    /// `stop`, `start` or `kill`; returns when it is done.
    pub async fn control(&self, verb: &str) -> anyhow::Result<()> {
        let output = Command::new("sh").arg("-c").arg(format!("{} {verb}", self.control)).output().await?;
        ensure!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}
