//! The whole of Waybill on this machine: services, gateway, API, workers, scheduler.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::ports;
use crate::process::{Launch, Running};
use crate::provide::commands::Services;
use crate::provide::{Lifetime, Options};
use crate::workspace::Workspace;

pub const ADMIN_EMAIL: &str = "admin@waybill.example";
/// For a server on loopback that holds sample data.
pub const ADMIN_PASSWORD: &str = "wholesale-gifts-2010";
const GATEWAY_KEY: &str = "sk_sandbox_local";
/// Base64 of "waybill local webhook secret 032".
const GATEWAY_WEBHOOK_SECRET: &str = "whsec_d2F5YmlsbCBsb2NhbCB3ZWJob29rIHNlY3JldCAwMzI=";
/// The port that the documentation speaks of; another when it is taken.
const API_PORT: u16 = 8080;

/// Longer than a worker's own deadline for its last jobs.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// The packages whose binaries make the system.
const PACKAGES: [&str; 5] =
    ["waybill-api", "waybill-workers", "waybill-scheduler", "waybill-sandbox", "waybill-cli"];

/// How the binaries are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Release,
    /// Quicker to build, several times slower to run.
    Debug,
}

impl Profile {
    const fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "debug",
        }
    }
}

/// What to start.
pub struct Plan {
    pub profile: Profile,
    pub workers: usize,
    /// Keeps the things of one use apart: a database, files, mails and logs of its own.
    pub name: &'static str,
    /// Begin with an empty database, empty folders and an empty gateway.
    pub fresh: bool,
    /// Settings beside the usual ones.
    pub settings: Vec<(String, String)>,
}

pub struct System {
    pub services: Services,
    pub api: Running,
    pub gateway: Running,
    pub scheduler: Running,
    pub workers: Vec<Running>,
    pub api_url: String,
    pub gateway_url: String,
    pub database_url: String,
    /// Mails, files and the gateway's journal.
    pub folder: PathBuf,
    pub logs: PathBuf,
    worker: Launch,
    started_workers: usize,
}

/// Builds the binaries; at once, provides the services.
pub async fn provide_and_build(workspace: &Workspace, profile: Profile) -> Result<Services> {
    let options = Options::new(Lifetime::Kept)?;
    let mut build = cargo::command(workspace);
    build.args(["build", "--bins"]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    let (services, built) = tokio::join!(Services::provide(&options), build.kill_on_drop(true).status());
    let services = services?;
    if !built.context("starting cargo build")?.success() {
        services.stop().await?;
        bail!("the build failed");
    }
    Ok(services)
}

impl System {
    /// Starts everything on `services`. On an error the services are taken down again.
    pub async fn start(workspace: &Workspace, services: Services, plan: Plan) -> Result<Self> {
        match Parts::start(workspace, &services, plan).await {
            Ok(parts) => Ok(parts.with(services)),
            Err(error) => {
                services.stop().await?;
                Err(error)
            }
        }
    }

    /// SIGKILL for the longest-running worker.
    pub async fn kill_worker(&mut self) -> Result<String> {
        if self.workers.is_empty() {
            bail!("no worker is left to kill");
        }
        let worker = self.workers.remove(0);
        let name = worker.name.clone();
        worker.kill9().await?;
        Ok(name)
    }

    /// One more worker, under a name of its own.
    pub async fn add_worker(&mut self) -> Result<String> {
        self.started_workers += 1;
        let worker = numbered(&self.worker, self.started_workers).start().await?;
        let name = worker.name.clone();
        self.workers.push(worker);
        Ok(name)
    }

    pub fn mail_folder(&self) -> PathBuf {
        self.folder.join("mail")
    }

    /// The names of processes that ended without being told to.
    pub fn ended(&mut self) -> Vec<String> {
        let fixed = [&mut self.api, &mut self.gateway, &mut self.scheduler];
        let all = fixed.into_iter().chain(&mut self.workers);
        all.filter_map(|process| process.has_ended().then(|| process.name.clone())).collect()
    }

    /// Process and pid.
    pub fn pids(&self) -> Vec<(String, u32)> {
        let fixed = [&self.api, &self.gateway, &self.scheduler];
        fixed.into_iter().chain(&self.workers).map(|process| (process.name.clone(), process.pid)).collect()
    }

    /// Takes everything down in order: who gives work before who does it. With `keep` the services
    /// stay. Returns the names of those that did not end when asked to.
    pub async fn stop(self, keep: bool) -> Result<Vec<String>> {
        let mut stubborn = Vec::new();
        let mut first = vec![self.api, self.scheduler];
        first.extend(self.workers);
        for group in [first, vec![self.gateway]] {
            let ends = group.into_iter().map(|process| async {
                let name = process.name.clone();
                (name, process.stop(STOP_PATIENCE).await)
            });
            for (name, in_time) in futures::future::join_all(ends).await {
                if !in_time? {
                    stubborn.push(name);
                }
            }
        }
        if keep {
            self.services.keep();
        } else {
            self.services.stop().await?;
        }
        Ok(stubborn)
    }
}

/// A system without its services.
struct Parts {
    api: Running,
    gateway: Running,
    scheduler: Running,
    workers: Vec<Running>,
    api_url: String,
    gateway_url: String,
    database_url: String,
    folder: PathBuf,
    logs: PathBuf,
    worker: Launch,
}

impl Parts {
    async fn start(workspace: &Workspace, services: &Services, plan: Plan) -> Result<Self> {
        let database_url = services.postgres.database(plan.name, plan.fresh).await?;
        let folder = workspace.local()?.join(plan.name);
        if plan.fresh && folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let logs = workspace.logs()?.join(plan.name);
        std::fs::create_dir_all(&logs)?;

        let api_port = ports::keep_or_free(Some(API_PORT))?;
        let api_url = format!("http://127.0.0.1:{api_port}");
        let launch =
            |name: &str, binary: &str, arguments: &[&str], environment: &[(String, String)]| Launch {
                name: name.to_owned(),
                binary: workspace.binaries(plan.profile.folder()).join(binary),
                arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
                environment: environment.to_vec(),
                logs: logs.clone(),
                working_folder: workspace.root().to_owned(),
            };

        let journal = folder.join("gateway.journal").display().to_string();
        let gateway_environment = pairs(&[
            ("WAYBILL_SANDBOX_LISTEN", "127.0.0.1:0"),
            ("WAYBILL_SANDBOX_API_KEY", GATEWAY_KEY),
            ("WAYBILL_SANDBOX_WEBHOOK_URL", &format!("{api_url}/v1/gateways/sandbox/webhooks")),
            ("WAYBILL_SANDBOX_WEBHOOK_SECRET", GATEWAY_WEBHOOK_SECRET),
            ("WAYBILL_SANDBOX_JOURNAL", &journal),
        ]);
        let gateway = launch("gateway", "waybill-sandbox", &[], &gateway_environment).start().await?;
        let gateway_url = format!("http://{}", gateway.address);

        let mut settings = pairs(&[
            ("WAYBILL_DATABASE__URL", &database_url),
            ("WAYBILL_API__LISTEN", &format!("127.0.0.1:{api_port}")),
            ("WAYBILL_API__PUBLIC_URL", &api_url),
            ("WAYBILL_AUTH__BOOTSTRAP_ADMIN_EMAIL", ADMIN_EMAIL),
            ("WAYBILL_AUTH__BOOTSTRAP_ADMIN_PASSWORD", ADMIN_PASSWORD),
            ("WAYBILL_PAYMENTS__SANDBOX__URL", &gateway_url),
            ("WAYBILL_PAYMENTS__SANDBOX__API_KEY", GATEWAY_KEY),
            ("WAYBILL_PAYMENTS__SANDBOX__WEBHOOK_SECRET", GATEWAY_WEBHOOK_SECRET),
            ("WAYBILL_MAIL__DIR", &folder.join("mail").display().to_string()),
            ("WAYBILL_FILES__URL", &folder.join("files").display().to_string()),
            // The receiver of webhooks is on this machine.
            ("WAYBILL_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES", "true"),
            ("WAYBILL_WEBHOOKS__REQUIRE_HTTPS", "false"),
            // All shoppers of a demonstration come from one address.
            ("WAYBILL_RATE_LIMIT__ENABLED", "false"),
            // Shoppers do not sign in again in the middle of a large file.
            ("WAYBILL_AUTH__ACCESS_TTL", "6h"),
            ("WAYBILL_API__LOGIN_ATTEMPTS_PER_MINUTE", "1000000"),
        ]);
        if let Ok(broker) = &services.rabbitmq {
            settings.push(("WAYBILL_BROKER__URL".to_owned(), broker.url.clone()));
        }
        settings.extend(plan.settings);

        launch("migrate", "waybill-api", &["migrate"], &settings).finish().await?;
        let worker = launch("worker", "waybill-worker", &[], &settings);
        let api = launch("api", "waybill-api", &[], &settings);
        let scheduler = launch("scheduler", "waybill-scheduler", &[], &settings);
        let (api, scheduler) = tokio::try_join!(api.start(), scheduler.start())?;
        let starts: Vec<_> = (1..=plan.workers).map(|number| numbered(&worker, number)).collect();
        let workers = futures::future::try_join_all(starts.iter().map(Launch::start)).await?;
        Ok(Self {
            api,
            gateway,
            scheduler,
            workers,
            api_url,
            gateway_url,
            database_url,
            folder,
            logs,
            worker,
        })
    }

    fn with(self, services: Services) -> System {
        let started_workers = self.workers.len();
        System {
            services,
            api: self.api,
            gateway: self.gateway,
            scheduler: self.scheduler,
            workers: self.workers,
            api_url: self.api_url,
            gateway_url: self.gateway_url,
            database_url: self.database_url,
            folder: self.folder,
            logs: self.logs,
            worker: self.worker,
            started_workers,
        }
    }
}

fn numbered(worker: &Launch, number: usize) -> Launch {
    Launch { name: format!("{}-{number}", worker.name), ..worker.clone() }
}

fn pairs(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The gateway's key, for reading its ledger.
pub const fn gateway_key() -> &'static str {
    GATEWAY_KEY
}
