//! A fresh database for each measurement.

use anyhow::Context as _;
use tokio_postgres::{Client, NoTls};

/// A database of a measurement's own; dropped by [`Database::remove`].
pub struct Database {
    /// Where it is.
    pub url: String,
    name: String,
    admin: Client,
    client: Client,
}

impl Database {
    /// Creates an empty one beside that of `server`.
    pub async fn create(server: &str, name: &str) -> anyhow::Result<Self> {
        let admin = connect(server).await?;
        let name = format!("waybill_bench_{name}");
        admin.batch_execute(&format!("drop database if exists {name} with (force)")).await?;
        admin.batch_execute(&format!("create database {name}")).await?;
        let (address, _) = server.rsplit_once('/').context("the server's URL names no database")?;
        let url = format!("{address}/{name}");
        let client = connect(&url).await?;
        Ok(Self { url, name, admin, client })
    }

    /// Drops it.
    pub async fn remove(self) -> anyhow::Result<()> {
        drop(self.client);
        Ok(self.admin.batch_execute(&format!("drop database if exists {} with (force)", self.name)).await?)
    }

    /// What a query answers with in its only column.
    pub async fn is(&self, query: &str) -> anyhow::Result<bool> {
        Ok(self.client.query_one(query, &[]).await?.try_get(0)?)
    }

    /// What a query answers with in its only column.
    pub async fn count(&self, query: &str) -> anyhow::Result<i64> {
        Ok(self.client.query_one(query, &[]).await?.try_get(0)?)
    }

    /// Runs statements.
    pub async fn execute(&self, statements: &str) -> anyhow::Result<()> {
        Ok(self.client.batch_execute(statements).await?)
    }

    /// What a table that was just filled has to go through anyway, before the clock runs.
    pub async fn settle(&self, table: &str) -> anyhow::Result<()> {
        self.execute(&format!("vacuum analyze {table}")).await?;
        self.execute("checkpoint").await
    }

    /// The server's first process.
    pub async fn postmaster(&self) -> anyhow::Result<Option<u32>> {
        let backend: i32 = self.client.query_one("select pg_backend_pid()", &[]).await?.try_get(0)?;
        Ok(crate::processes::parent_of(u32::try_from(backend)?))
    }
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
