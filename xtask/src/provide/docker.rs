//! Services in containers, where nothing can be installed but Docker runs.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{Options, postgres, rabbitmq};
use crate::{clock, ports};

const START_PATIENCE: Duration = Duration::from_mins(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Postgres,
    Rabbitmq,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Container {
    service: Kind,
    name: String,
    image: String,
    port: u16,
    ephemeral: bool,
}

pub async fn postgres_container(options: &Options) -> Result<Container> {
    container(options, Kind::Postgres, "postgres:17-alpine").await
}

pub async fn rabbitmq_container(options: &Options) -> Result<Container> {
    container(options, Kind::Rabbitmq, "rabbitmq:4-alpine").await
}

async fn container(options: &Options, service: Kind, image: &str) -> Result<Container> {
    if docker(&["info"]).await.is_err() {
        bail!("no Docker engine answers");
    }
    let mut container = Container {
        service,
        name: String::new(),
        image: image.to_owned(),
        port: ports::free()?,
        ephemeral: options.ephemeral(),
    };
    container.name = options.unique_name(container.service());
    Ok(container)
}

impl Container {
    pub fn service(&self) -> &'static str {
        match self.service {
            Kind::Postgres => postgres::SERVICE,
            Kind::Rabbitmq => rabbitmq::SERVICE,
        }
    }

    pub fn url(&self) -> String {
        match self.service {
            Kind::Postgres => {
                format!("postgres://waybill@127.0.0.1:{}/{}", self.port, postgres::DATABASE)
            }
            Kind::Rabbitmq => format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port),
        }
    }

    pub fn describe(&self) -> String {
        format!("container {} ({}) on 127.0.0.1:{}", self.name, self.image, self.port)
    }

    pub async fn is_running(&self) -> bool {
        match self.service {
            Kind::Postgres => postgres::connect(self.port, postgres::DATABASE).await.is_ok(),
            Kind::Rabbitmq => rabbitmq::speaks_amqp(self.port).await,
        }
    }

    pub async fn start(&self) -> Result<()> {
        if self.is_running().await {
            return Ok(());
        }
        if docker(&["start", &self.name]).await.is_err() {
            self.create().await?;
        }
        clock::until(&format!("the start of container {}", self.name), START_PATIENCE, || async {
            Ok(self.is_running().await.then_some(()))
        })
        .await
    }

    async fn create(&self) -> Result<()> {
        let (inner, volume) = match self.service {
            Kind::Postgres => (5432, "/var/lib/postgresql/data"),
            Kind::Rabbitmq => (5672, "/var/lib/rabbitmq"),
        };
        let publish = format!("127.0.0.1:{}:{inner}", self.port);
        let mount = format!("{}:{volume}", self.name);
        let mut arguments = vec!["run", "-d", "--name", &self.name, "-p", &publish];
        if !self.ephemeral {
            arguments.extend(["-v", &mount]);
        }
        match self.service {
            Kind::Postgres => arguments.extend([
                "-e",
                "POSTGRES_USER=waybill",
                "-e",
                "POSTGRES_DB=waybill",
                "-e",
                "POSTGRES_HOST_AUTH_METHOD=trust",
                &self.image,
                "-c",
                "max_connections=300",
                "-c",
                "shared_buffers=256MB",
                "-c",
                "max_wal_size=2GB",
            ]),
            // A published port does not look like loopback from inside, where guest is confined to it.
            Kind::Rabbitmq => arguments.extend([
                "--hostname",
                "waybill",
                "-e",
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-rabbit loopback_users []",
                &self.image,
            ]),
        }
        docker(&arguments).await
    }

    pub async fn stop(&self) -> Result<()> {
        // Unknown to the engine: nothing to stop.
        let _ = docker(&["stop", "-t", "30", &self.name]).await;
        Ok(())
    }

    pub async fn kill(&self) -> Result<()> {
        let _ = docker(&["kill", &self.name]).await;
        Ok(())
    }

    pub fn delete(&self) -> Result<()> {
        std::process::Command::new("docker")
            .args(["rm", "-f", "-v", &self.name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("removing a container")?;
        Ok(())
    }
}

async fn docker(arguments: &[&str]) -> Result<()> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .context("Docker is not installed")?;
    if !output.status.success() {
        bail!("docker: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
