//! A system of its own for each test.

use std::{collections::BTreeMap, env, net::TcpListener, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use diesel::QueryableByName;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use waybill_jobs::testing::TestDatabase;

use crate::{Client, broker::Exchange, process::Process, until};

/// The administrator that the API creates at its first start.
pub const ADMIN: (&str, &str) = ("admin@waybill.example", "an-administrator-of-tests");
const GATEWAY_KEY: &str = "sk_test_gateway";
/// Base64 of "a secret that only tests know 01".
const WEBHOOK_SECRET: &str = "whsec_YSBzZWNyZXQgdGhhdCBvbmx5IHRlc3RzIGtub3cgMDE=";

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Worker processes.
    pub workers: usize,
    /// The `RabbitMQ` that events may ride on; the run's own by default.
    pub broker: Option<String>,
    /// An empty database to use; else one is made in the run's Postgres.
    pub database: Option<String>,
    /// Settings beside the usual ones, for every process.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workers: 1,
            broker: env::var("WAYBILL_TEST_AMQP_URL").ok(),
            database: None,
            settings: Vec::new(),
        }
    }
}

impl Plan {
    /// The usual, with these settings.
    pub fn with(settings: &[(&'static str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { settings, ..Self::default() }
    }

    /// So many workers.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }
}

/// API, workers and scheduler as processes; the gateway inside the test.
// The order of the fields is the order in which they go: who uses something goes before it.
pub struct System {
    /// Nobody in particular.
    pub anybody: Client,
    /// The administrator.
    pub admin: Client,
    /// The workers' processes.
    pub workers: Vec<Process>,
    /// The scheduler's process.
    pub scheduler: Process,
    /// The API's process.
    pub api: Process,
    /// The payment gateway.
    pub gateway: waybill_sandbox::Handle,
    /// Where the database is.
    pub database_url: String,
    settings: BTreeMap<String, String>,
    started: usize,
    /// Where events are published, if there is a broker.
    pub exchange: Option<Exchange>,
    _database: Option<TestDatabase>,
    folder: TempDir,
}

impl System {
    /// Starts everything and waits until it is ready.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        waybill_platform::install_crypto();
        let database = match &plan.database {
            Some(_) => None,
            None => Some(TestDatabase::create().await),
        };
        let database_url = match (&plan.database, &database) {
            (Some(url), _) => url.clone(),
            (None, Some(database)) => database.url().to_owned(),
            (None, None) => String::new(),
        };
        let mut folder = TempDir::with_prefix("waybill-test-")?;
        // For whoever wants to read the logs of a test.
        folder.disable_cleanup(env::var_os("WAYBILL_TEST_KEEP").is_some());
        let port = free_port()?;
        let gateway = waybill_sandbox::serve(gateway_config(port)).await?;
        let exchange = plan.broker.as_deref().map(Exchange::new);
        let mut settings = settings(port, &database_url, &gateway, &folder);
        if let Some(exchange) = &exchange {
            settings.insert("WAYBILL_BROKER__URL".to_owned(), exchange.url().to_owned());
            settings.insert("WAYBILL_BROKER__EXCHANGE".to_owned(), exchange.name());
        }
        settings.extend(plan.settings.into_iter().map(|(name, value)| (name.to_owned(), value)));

        let logs = folder.path();
        let api = Process::start("waybill-api", &[], &settings, logs, 0).await?;
        let scheduler = Process::start("waybill-scheduler", &[], &settings, logs, 0).await?;
        let anybody = Client::new(&format!("http://{}", api.address))?;
        let admin = anybody.sign_in(ADMIN.0, ADMIN.1).await.with_context(|| api.log())?;
        let mut system = Self {
            anybody,
            admin,
            workers: Vec::new(),
            scheduler,
            api,
            gateway,
            database_url,
            settings,
            started: 0,
            exchange,
            _database: database,
            folder,
        };
        for _ in 0..plan.workers {
            system.add_worker(&[]).await?;
        }
        Ok(system)
    }

    /// Starts one more worker, with settings of its own beside the system's.
    pub async fn add_worker(&mut self, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut all = self.settings.clone();
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.started += 1;
        let worker = Process::start("waybill-worker", &[], &all, self.folder.path(), self.started).await?;
        self.workers.push(worker);
        Ok(())
    }

    /// Starts the API again, at its old address, after it was killed.
    pub async fn restart_api(&mut self) -> anyhow::Result<()> {
        self.started += 1;
        let (logs, number) = (self.folder.path(), self.started);
        self.api = Process::start("waybill-api", &[], &self.settings, logs, number).await?;
        Ok(())
    }

    /// Starts the scheduler again after it was killed.
    pub async fn restart_scheduler(&mut self) -> anyhow::Result<()> {
        self.started += 1;
        let (logs, number) = (self.folder.path(), self.started);
        self.scheduler = Process::start("waybill-scheduler", &[], &self.settings, logs, number).await?;
        Ok(())
    }

    /// Ends the scheduler and starts it again with settings of its own.
    pub async fn restart_scheduler_with(&mut self, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        ensure!(self.scheduler.stop().await?, "{}", self.scheduler.log());
        self.started += 1;
        let mut all = self.settings.clone();
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let (logs, number) = (self.folder.path(), self.started);
        self.scheduler = Process::start("waybill-scheduler", &[], &all, logs, number).await?;
        Ok(())
    }

    /// The folder of mails, files and logs.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// How many mails were written to files.
    pub fn mails_written(&self) -> anyhow::Result<usize> {
        let mails = std::fs::read_dir(self.folder.path().join("mail"))?.filter_map(Result::ok);
        Ok(mails.filter(|entry| entry.path().extension().is_some_and(|e| e == "eml")).count())
    }

    /// Scripts the gateway.
    pub async fn fault(&self, fault: Value) -> anyhow::Result<()> {
        let url = format!("{}/control/faults", self.gateway.url());
        let client = waybill_platform::http::client(Duration::from_secs(10))?;
        client.post(url).json(&fault).send().await?.error_for_status().context("the gateway's script")?;
        Ok(())
    }

    /// From now on the gateway does as it should.
    pub async fn no_more_faults(&self) -> anyhow::Result<()> {
        let url = format!("{}/control/faults", self.gateway.url());
        let client = waybill_platform::http::client(Duration::from_secs(10))?;
        client.delete(url).send().await?.error_for_status().context("the gateway's script")?;
        Ok(())
    }

    /// A caller with an API key of these scopes.
    pub async fn key(&self, scopes: &[&str]) -> anyhow::Result<Client> {
        let body = json!({ "name": "tests", "scopes": scopes });
        let (status, key) = self.admin.post("/v1/admin/api-keys", &body).await?;
        ensure!(status.is_success(), "api key: {status} {key}");
        Ok(self.anybody.with_key(key["key"].as_str().context("no key")?))
    }

    /// The number that a query answers with in its only column, named `n`.
    pub async fn count(&self, query: &str) -> anyhow::Result<i64> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            n: i64,
        }
        let row: Row = diesel::sql_query(query).get_result(&mut self.connection().await?).await?;
        Ok(row.n)
    }

    /// A connection to the database.
    pub async fn connection(&self) -> anyhow::Result<AsyncPgConnection> {
        Ok(AsyncPgConnection::establish(&self.database_url).await?)
    }

    /// Waits until a count in the database is what it should be.
    pub async fn until_count(&self, what: &str, query: &str, expected: i64) -> anyhow::Result<()> {
        until(what, async || {
            let n = self.count(query).await?;
            Ok(if n == expected { Ok(()) } else { Err(format!("{n}, not {expected}")) })
        })
        .await
        .with_context(|| self.logs())
    }

    /// The ends of all logs, for the message of a failed test.
    pub fn logs(&self) -> String {
        let all = [&self.api, &self.scheduler].into_iter().chain(&self.workers);
        all.map(|p| format!("--- {}\n{}\n", p.name, p.log())).collect::<Vec<_>>().concat()
    }
}

fn settings(
    port: u16,
    database_url: &str,
    gateway: &waybill_sandbox::Handle,
    folder: &TempDir,
) -> BTreeMap<String, String> {
    let below = |name: &str| folder.path().join(name).display().to_string();
    [
        ("WAYBILL_DATABASE__URL", database_url.to_owned()),
        ("WAYBILL_DATABASE__POOL_MAX", "8".to_owned()),
        // Hundreds of buyers at once, unoptimised binaries, two processors: being slow is no reason to be refused.
        ("WAYBILL_DATABASE__CONNECT_TIMEOUT", "30s".to_owned()),
        ("WAYBILL_API__REQUEST_TIMEOUT", "60s".to_owned()),
        ("WAYBILL_API__LISTEN", format!("127.0.0.1:{port}")),
        ("WAYBILL_API__PUBLIC_URL", format!("http://127.0.0.1:{port}")),
        ("WAYBILL_API__LOGIN_ATTEMPTS_PER_MINUTE", "100000".to_owned()),
        ("WAYBILL_AUTH__BOOTSTRAP_ADMIN_EMAIL", ADMIN.0.to_owned()),
        ("WAYBILL_AUTH__BOOTSTRAP_ADMIN_PASSWORD", ADMIN.1.to_owned()),
        ("WAYBILL_PAYMENTS__SANDBOX__URL", gateway.url()),
        ("WAYBILL_PAYMENTS__SANDBOX__API_KEY", GATEWAY_KEY.to_owned()),
        ("WAYBILL_PAYMENTS__SANDBOX__WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
        ("WAYBILL_PAYMENTS__SANDBOX__TIMEOUT", "1s".to_owned()),
        ("WAYBILL_PAYMENTS__SANDBOX__BREAKER_OPEN_FOR", "1s".to_owned()),
        ("WAYBILL_MAIL__DIR", below("mail")),
        ("WAYBILL_FILES__URL", below("files")),
        ("WAYBILL_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES", "true".to_owned()),
        ("WAYBILL_WEBHOOKS__REQUIRE_HTTPS", "false".to_owned()),
        ("WAYBILL_RATE_LIMIT__ENABLED", "false".to_owned()),
        ("WAYBILL_LOG__FILTER", "info".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn gateway_config(api_port: u16) -> waybill_sandbox::Config {
    let mut config = waybill_sandbox::Config::default();
    GATEWAY_KEY.clone_into(&mut config.api_key);
    config.webhook_url = Some(format!("http://127.0.0.1:{api_port}/v1/gateways/sandbox/webhooks"));
    config.webhook_secret = Some(WEBHOOK_SECRET.to_owned());
    config
}

/// A port for the API, which the gateway must know before the API listens. From below the range that the kernel gives to
/// outgoing connections, so that none takes it in between; drawn by a random id, so that tests side by side differ.
fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let drawn = uuid::Uuid::new_v4().as_u128() % 20_000;
        let port = 10_000 + u16::try_from(drawn)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between 10000 and 30000")
}
